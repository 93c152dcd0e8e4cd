/**
 * The phases of a start, in the order in which they follow each other. A new phase is one row here: types, wire schemas, traces, `Server-Timing` and the
 * console follow it. `isOptional`: some starts do not have it. The driver measures all but `queue`.
 */
export const START_PHASES = [
  /** From the request until the driver is called: the container waits for its image, its back-off and its turn. */
  { name: "queue", isOptional: false },
  { name: "pull", isOptional: true },
  { name: "create", isOptional: false },
  /** From the created container until it accepts connections. */
  { name: "boot", isOptional: false },
] as const;

type Row = (typeof START_PHASES)[number];
type StartPhase = Row["name"];
type OptionalPhase = Extract<Row, { isOptional: true }>["name"];

/** How long each phase of a start took, in milliseconds. */
export type StartTimes = { [Phase in Exclude<StartPhase, OptionalPhase>]: number } & { [Phase in OptionalPhase]?: number };

/** What a driver measures of them. */
export type DriverTimes = Omit<StartTimes, "queue">;
export const DRIVER_PHASES = START_PHASES.map(({ name }) => name).filter((name) => name !== "queue");

/** The phases that a start had, in their order. */
export function phasesOf(times: Partial<StartTimes>): (readonly [StartPhase, number])[] {
  return START_PHASES.flatMap(({ name }) => {
    const ms = times[name];
    return ms === undefined ? [] : [[name, ms] as const];
  });
}

/** The text of the header `Server-Timing` (W3C Server Timing): a start's phases, then the connection to the container. */
export function formatServerTiming(start: StartTimes | undefined, connectMs: number): string {
  return [...phasesOf(start ?? {}), ["connect", connectMs] as const].map(([name, ms]) => `${name};dur=${ms.toFixed(1)}`).join(", ");
}

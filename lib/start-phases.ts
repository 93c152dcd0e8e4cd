/**
 * The phases of a start, in the order in which they follow each other. A new phase is one row here: types, wire schemas, traces, `Server-Timing` and the
 * console follow it. `isOptional`: some starts do not have it. `isDriver`: the driver measures it.
 */
export const START_PHASES = [
  /** From the request until the driver is called: the container waits for its image, its back-off and its turn. */
  { name: "queue", isOptional: false, isDriver: false },
  /** Of the time until then, what it waited for the containers that it depends on. */
  { name: "dependencies", isOptional: true, isDriver: false },
  { name: "pull", isOptional: true, isDriver: true },
  { name: "create", isOptional: false, isDriver: true },
  /** From the created container until it accepts connections. */
  { name: "boot", isOptional: false, isDriver: true },
] as const;

type Row = (typeof START_PHASES)[number];
type StartPhase = Row["name"];
type OptionalPhase = Extract<Row, { isOptional: true }>["name"];

/** How long each phase of a start took, in milliseconds. */
export type StartTimes = { [Phase in Exclude<StartPhase, OptionalPhase>]: number } & { [Phase in OptionalPhase]?: number };

/** What a driver measures of them. */
type DriverPhase = Extract<Row, { isDriver: true }>["name"];
export type DriverTimes = Pick<StartTimes, DriverPhase>;
export const DRIVER_PHASES: readonly DriverPhase[] = START_PHASES.flatMap((phase) => (phase.isDriver ? [phase.name] : []));

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

import type { FailoverCluster } from "./cluster.ts";

/** The steps of a failover, in order, by what the processes log. `gateways`: of the last of them. */
const STEPS = {
  released: ["leadership released"],
  elected: ["leadership acquired"],
  leads: ["this control process leads"],
  gateways: ["control is connected"],
  apiOpen: ["the api is open"],
} as const;
type FailoverStep = keyof typeof STEPS;

export type FailoverPhases = {
  /** Forgets what it has noted: a fault begins. */
  begin(): void;
  /** When each step came first, of `gateways` last, in milliseconds since `begin`. */
  steps(): Partial<Record<FailoverStep, number>>;
};

export function watchPhases({ controls, gateways }: FailoverCluster): FailoverPhases {
  let from = performance.now();
  let noted: Partial<Record<FailoverStep, number>> = {};
  const note = (steps: readonly FailoverStep[], isLast: boolean) => (line: string) => {
    for (const step of steps)
      if (STEPS[step].some((text) => line.includes(`"${text}"`)) && (isLast || noted[step] === undefined)) noted[step] = performance.now() - from;
  };
  for (const control of controls) control.watch(note(["released", "elected", "leads", "apiOpen"], false));
  for (const gateway of gateways) gateway.watch(note(["gateways"], true));
  return {
    begin: () => {
      from = performance.now();
      noted = {};
    },
    steps: () => noted,
  };
}

export function describePhases(steps: ReturnType<FailoverPhases["steps"]>): string {
  return Object.entries(steps)
    .map(([step, ms]) => `${step} ${Math.round(ms)}`)
    .join(", ");
}

/**
 * A state machine as plain data. `events` has for each event what it means, and why it cannot come in a state without a row for it. The actions of a row
 * run in the order of `actions`, whatever the order in the row.
 */
export type MachineTable<State extends string, Event extends string, Action extends string> = {
  states: Record<State, string>;
  events: Record<Event, { means: string; elsewhere?: string }>;
  actions: Record<Action, string>;
  rows: readonly MachineRow<State, Event, Action>[];
};

/** Each of the events in each of the states leads to `to` and runs the actions. */
export type MachineRow<State extends string, Event extends string, Action extends string> = readonly [
  event: Event | readonly Event[],
  from: State | readonly State[],
  to: State | "same",
  ...actions: Action[],
];

/** The next state in the low bits, the actions above them. */
export type MachineStep = number;

const STATE_BITS = 5;
const STATE_MASK = 2 ** STATE_BITS - 1;
/** A step is a small integer: 31 bits. */
const MAX_ACTIONS = 31 - STATE_BITS;
const NO_ROW = -1;

export type Machine<State extends string, Event extends string, Action extends string> = {
  /** The numbers of states and events. */
  readonly state: Readonly<Record<State, number>>;
  readonly event: Readonly<Record<Event, number>>;
  /** The bits of actions. */
  readonly action: Readonly<Record<Action, number>>;
  /** Allocates nothing. Throws if the table has no row. */
  next(state: number, event: number): MachineStep;
  hasRow(state: number, event: number): boolean;
};

export function stateOf(step: MachineStep): number {
  return step & STATE_MASK;
}

/** The bits of the actions. */
export function actionsOf(step: MachineStep): number {
  return step >>> STATE_BITS;
}

export function has(actions: number, action: number): boolean {
  return (actions & action) !== 0;
}

/** Throws if the table has more states or actions than a step can hold, or two rows for one event in one state. */
export function createMachine<State extends string, Event extends string, Action extends string>(
  table: MachineTable<State, Event, Action>,
): Machine<State, Event, Action> {
  const states = Object.keys(table.states) as State[];
  const events = Object.keys(table.events) as Event[];
  const actions = Object.keys(table.actions) as Action[];
  if (states.length > STATE_MASK + 1 || actions.length > MAX_ACTIONS) throw new Error("The machine has too many states or actions");
  const state = numbered(states, (at) => at);
  const event = numbered(events, (at) => at);
  const action = numbered(actions, (at) => 2 ** at);
  const steps = new Int32Array(states.length * events.length).fill(NO_ROW);
  for (const { event: name, from, to, actions: names } of expandRows(table)) {
    const at = state[from] * events.length + event[name];
    if (steps[at] !== NO_ROW) throw new Error(`The machine has two rows for ${name} in ${from}`);
    steps[at] = names.reduce((bits, one) => bits | action[one], 0) * 2 ** STATE_BITS + state[to];
  }
  const width = events.length;
  return {
    state,
    event,
    action,
    next: (from, name) => {
      const step = steps[from * width + name] as MachineStep;
      if (step === NO_ROW) throw new Error(`The machine has no row for ${events[name]} in ${states[from]}`);
      return step;
    },
    hasRow: (from, name) => steps[from * width + name] !== NO_ROW,
  };
}

type Transition<State, Event, Action> = { event: Event; from: State; to: State; actions: Action[] };

/** One row for each state and event. */
export function expandRows<State extends string, Event extends string, Action extends string>({
  rows,
}: Pick<MachineTable<State, Event, Action>, "rows">): Transition<State, Event, Action>[] {
  return rows.flatMap(([events, froms, to, ...actions]) =>
    listOf(events).flatMap((event) => listOf(froms).map((from) => ({ event, from, to: to === "same" ? from : to, actions }))),
  );
}

function listOf<Name extends string>(names: Name | readonly Name[]): readonly Name[] {
  return typeof names === "string" ? [names] : names;
}

function numbered<Name extends string>(names: readonly Name[], numberAt: (at: number) => number): Record<Name, number> {
  return Object.freeze(Object.fromEntries(names.map((name, at) => [name, numberAt(at)]))) as Record<Name, number>;
}

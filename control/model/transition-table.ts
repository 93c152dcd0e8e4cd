/** A transition table as data. */
export type Table<State extends string, Event extends string> = Record<State, Partial<Record<Event, State>>>;

/** The state that follows, or undefined where the state does not allow the event. */
export function next<State extends string, Event extends string>(table: Table<State, Event>, state: State, event: Event): State | undefined {
  return table[state][event];
}

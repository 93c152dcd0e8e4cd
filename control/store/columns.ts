type Stored = string | number | null;

/** How one field of an entity lies in a column. */
export type Column<V> = { write(value: V): Stored; read(stored: Stored): V };

/** A string; `S` narrows it to the words that the application ever writes. */
export function text<S extends string>(): Column<S> {
  return { write: (value) => value, read: (stored) => stored as S };
}

/** An integer: a count, or epoch milliseconds. Fractions are cut, since the tables are STRICT. */
export function whole(): Column<number> {
  return { write: (value) => Math.trunc(value), read: (stored) => Number(stored) };
}

/** One of few integers. */
export function oneOf<N extends number>(): Column<N> {
  return { write: (value) => value, read: (stored) => stored as N };
}

export function flag(): Column<boolean> {
  return { write: (value) => (value ? 1 : 0), read: (stored) => stored === 1 };
}

/** Plain data that no query looks into. */
export function json<V>(): Column<V> {
  return { write: (value) => JSON.stringify(value), read: (stored) => JSON.parse(String(stored)) as V };
}

/** NULL is undefined. */
export function optional<V>(column: Column<V>): Column<V | undefined> {
  return {
    write: (value) => (value === undefined ? null : column.write(value)),
    read: (stored) => (stored === null ? undefined : column.read(stored)),
  };
}

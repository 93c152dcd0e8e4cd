import type { ComponentChildren } from "preact";

/** `does`: it holds buttons, so its name is only read out. */
export type Column<T> = { name: string; cell(row: T): ComponentChildren; does?: true };

/** On a narrow screen each row is a card, on which a column's name stands before its cell. */
export function Table<T>({ columns, rows, keyOf }: { columns: readonly Column<T>[]; rows: readonly T[]; keyOf(row: T): string }) {
  return (
    <table>
      <thead>
        <tr>
          {columns.map(({ name, does }) => (
            <th key={name} scope="col">
              {does ? <span class="unseen">{name}</span> : name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={keyOf(row)}>
            {columns.map(({ name, cell, does }) =>
              does ? (
                <td key={name} class="actions">
                  {cell(row)}
                </td>
              ) : (
                <td key={name} data-label={name}>
                  {cell(row)}
                </td>
              ),
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

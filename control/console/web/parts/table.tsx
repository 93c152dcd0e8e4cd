import type { ComponentChildren } from "preact";

/** `isAction`: the column contains buttons; only screen readers read its name. */
export type Column<T> = { name: string; cell(row: T): ComponentChildren; isAction?: true };

/** On a narrow screen each row is a card, with a column's name before its cell. */
export function Table<T>({ columns, rows, keyOf }: { columns: readonly Column<T>[]; rows: readonly T[]; keyOf(row: T): string }) {
  return (
    <table>
      <thead>
        <tr>
          {columns.map(({ name, isAction }) => (
            <th key={name} scope="col">
              {isAction ? <span class="unseen">{name}</span> : name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={keyOf(row)}>
            {columns.map(({ name, cell, isAction }) =>
              isAction ? (
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

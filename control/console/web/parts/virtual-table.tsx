import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export type VirtualColumn<T> = {
  name: string;
  /** A class of its cells. */
  kind?: string;
  cell(row: T): ComponentChildren;
  /** In place of its name. */
  head?: ComponentChildren;
  /** Sorts by it; undefined: not sortable. */
  sort?: string;
  /** Only screen readers read its name. */
  isUnnamed?: true;
};

export type TableSort = { by: string; descending: boolean; onChange(by: string, descending: boolean): void };

type VirtualTableProps<T> = {
  label: string;
  columns: readonly VirtualColumn<T>[];
  total: number;
  /** Undefined: it is not loaded yet. */
  rowAt(index: number): T | undefined;
  keyOf(row: T): string;
  /** Which rows are in view. */
  onView(first: number, last: number): void;
  sort: TableSort;
};

/** Rows above and below the window. */
const OVERSCAN = 12;

/** A table of any length: only the rows in view are in the page. All rows have one height, which the style sheet sets. */
export function VirtualTable<T>({ label, columns, total, rowAt, keyOf, onView, sort }: VirtualTableProps<T>) {
  const body = useRef<HTMLTableSectionElement>(null);
  const [range, setRange] = useState({ first: 0, last: 40, height: 0 });
  const latest = useRef({ total, onView });
  latest.current = { total, onView };

  useLayoutEffect(() => {
    const measure = () => {
      if (!body.current) return;
      const height = Number.parseFloat(getComputedStyle(body.current).getPropertyValue("--row-height"));
      const above = -body.current.getBoundingClientRect().top;
      const end = Math.max(0, latest.current.total - 1);
      const first = Math.min(end, Math.max(0, Math.floor(above / height) - OVERSCAN));
      const last = Math.min(end, Math.ceil((above + innerHeight) / height) + OVERSCAN);
      setRange((before) => (before.first === first && before.last === last && before.height === height ? before : { first, last, height }));
      latest.current.onView(first, Math.max(first, last));
    };
    measure();
    addEventListener("scroll", measure, { passive: true });
    addEventListener("resize", measure);
    return () => {
      removeEventListener("scroll", measure);
      removeEventListener("resize", measure);
    };
  }, [total]);

  const first = Math.min(range.first, Math.max(0, total - 1));
  const last = Math.min(range.last, total - 1);
  const indexes = Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => first + at);
  return (
    <table class="virtual" aria-label={label} aria-rowcount={total + 1}>
      <thead>
        <tr>
          {columns.map((column) => (
            <HeadCell key={column.name} column={column} sort={sort} />
          ))}
        </tr>
      </thead>
      <tbody ref={body}>
        <Spacer rows={first} height={range.height} columns={columns.length} />
        {indexes.map((index) => {
          const row = rowAt(index);
          return (
            <tr key={row === undefined ? index : keyOf(row)} aria-rowindex={index + 2}>
              {row === undefined ? (
                <td colSpan={columns.length} class="quiet">
                  Loading…
                </td>
              ) : (
                columns.map(({ name, kind, cell, isUnnamed }) => (
                  <td key={name} class={kind} {...(isUnnamed ? {} : { "data-label": name })}>
                    {cell(row)}
                  </td>
                ))
              )}
            </tr>
          );
        })}
        <Spacer rows={total - 1 - last} height={range.height} columns={columns.length} />
      </tbody>
    </table>
  );
}

function HeadCell<T>({ column: { name, kind, head, sort: by, isUnnamed }, sort }: { column: VirtualColumn<T>; sort: TableSort }) {
  const isSorted = by !== undefined && sort.by === by;
  const order = isSorted ? (sort.descending ? "descending" : "ascending") : undefined;
  return (
    <th scope="col" class={kind} aria-sort={order}>
      {by === undefined ? (
        (head ?? (isUnnamed ? <span class="unseen">{name}</span> : name))
      ) : (
        <button type="button" class="sort" onClick={() => sort.onChange(by, isSorted && !sort.descending)}>
          {name}
          <span aria-hidden="true">{isSorted ? (sort.descending ? " ↓" : " ↑") : ""}</span>
        </button>
      )}
    </th>
  );
}

function Spacer({ rows, height, columns }: { rows: number; height: number; columns: number }) {
  return rows > 0 ? (
    <tr class="spacer" aria-hidden="true">
      <td colSpan={columns} style={{ height: `${rows * height}px` }} />
    </tr>
  ) : null;
}

/** Keeps the scroll position of the page at `hash`: **Back** returns to it. */
export function useScrollPosition(isLoaded: boolean): void {
  const mounted = useRef(location.hash);
  useEffect(() => {
    const [path] = mounted.current.split("?", 1);
    const save = () => {
      if (location.hash.split("?", 1)[0] === path) sessionStorage.setItem(`scroll ${location.hash}`, String(scrollY));
    };
    addEventListener("scroll", save, { passive: true });
    return () => removeEventListener("scroll", save);
  }, []);
  useEffect(() => {
    if (isLoaded) scrollTo(0, Number(sessionStorage.getItem(`scroll ${mounted.current}`) ?? 0));
  }, [isLoaded]);
}

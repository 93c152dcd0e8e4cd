import { useEffect, useRef, useState } from "preact/hooks";
import { useRequest } from "../api-client.ts";
import { useConsoleQuery } from "../location.ts";
import { Search } from "./controls.tsx";
import { type Column, Failure, Loading, Table } from "./display.tsx";

/** Rows of a page. The API allows 200; so many are read at a glance. */
const ROWS = 50;

/** Which page of a list is shown, and what its rows contain. */
export type PageState = { text: string; page: number; set(state: { text?: string; page?: number }): void };

/** In the address, so that reloads and **Back** keep it. For a page with one list. */
export function useAddressState(): PageState {
  const query = useConsoleQuery();
  return {
    text: query.value("search"),
    page: Math.max(1, Math.trunc(Number(query.value("page"))) || 1),
    set: ({ text, page }) =>
      query.set({ ...(text === undefined ? {} : { search: text }), ...(page === undefined ? {} : { page: page === 1 ? "" : String(page) }) }),
  };
}

/** For one list of several on a page. */
export function useLocalState(): PageState {
  const [{ text, page }, setState] = useState({ text: "", page: 1 });
  return { text, page, set: (state) => setState((before) => ({ ...before, ...state })) };
}

export type PagedRows<T> = {
  /** Those of the last response, also while the next page is loaded. Undefined until the first one. */
  loaded: { total: number; rows: readonly T[] } | undefined;
  error: Error | undefined;
  state: PageState;
  reload(): void;
};

/** `path`: a list of the API with `text`, `limit` and `page`, which returns `total` and `rows`. */
export function usePagedRows<T>(path: string, state: PageState, { everyMs }: { everyMs?: number } = {}): PagedRows<T> {
  const { text, page } = state;
  const query = new URLSearchParams({ ...(text.trim() === "" ? {} : { text: text.trim() }), limit: String(ROWS), page: String(page) });
  const { value, error, reload } = useRequest<{ total: number; rows: T[] }>(
    `${path}${path.includes("?") ? "&" : "?"}${query.toString()}`,
    everyMs === undefined ? {} : { everyMs },
  );
  const last = useRef(value);
  last.current = value ?? last.current;
  const isBeyond = value !== undefined && value.rows.length === 0 && value.total > 0 && page > 1;
  // The rows of the last page were removed.
  useEffect(() => {
    if (isBeyond) state.set({ page: Math.max(1, Math.ceil(value.total / ROWS)) });
  }, [isBeyond]);
  return { loaded: last.current, error, state, reload };
}

/** The page of a list that is in memory as a whole, such as one that events keep up to date. */
export function pageOf<T>(all: readonly T[] | undefined, state: PageState): Pick<PagedRows<T>, "loaded" | "state"> {
  if (all === undefined) return { loaded: undefined, state };
  const page = Math.min(state.page, Math.max(1, Math.ceil(all.length / ROWS)));
  return { loaded: { total: all.length, rows: all.slice((page - 1) * ROWS, page * ROWS) }, state: { ...state, page } };
}

type PagedTableProps<T> = {
  rows: PagedRows<T>;
  columns: readonly Column<T>[];
  keyOf(row: T): string;
  /** Shown if the list has no rows, and nothing is searched. */
  empty: string;
  /** The label of the search box; undefined: there is none. */
  search?: string;
};

export function PagedTable<T>({ rows: { loaded, error, state, reload }, columns, keyOf, empty, search }: PagedTableProps<T>) {
  const { text, page, set } = state;
  return (
    <>
      <Failure error={error} onRetry={reload} />
      {search === undefined ? null : (
        <div class="tools">
          <Search label={search} value={text} onChange={(value) => set({ text: value, page: 1 })} />
        </div>
      )}
      {loaded === undefined ? (
        error ? null : (
          <Loading />
        )
      ) : loaded.total === 0 ? (
        <p class="quiet">{text.trim() === "" ? empty : "No rows match. Change the search."}</p>
      ) : (
        <>
          <Table columns={columns} rows={loaded.rows} keyOf={keyOf} />
          <Pager page={page} total={loaded.total} onChange={(next) => set({ page: next })} />
        </>
      )}
    </>
  );
}

/** Nothing if all rows are on one page. */
function Pager({ page, total, onChange }: { page: number; total: number; onChange(page: number): void }) {
  if (total <= ROWS) return null;
  const first = (page - 1) * ROWS + 1;
  const last = Math.min(total, page * ROWS);
  return (
    <div class="tools pager" role="group" aria-label="Pages">
      <span class="quiet" role="status">
        {first}–{last} of {total}
      </span>
      <button type="button" disabled={page === 1} onClick={() => onChange(page - 1)}>
        Previous
      </button>
      <button type="button" disabled={last >= total} onClick={() => onChange(page + 1)}>
        Next
      </button>
    </div>
  );
}

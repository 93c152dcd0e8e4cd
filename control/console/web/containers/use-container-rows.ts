import { useEffect, useRef, useState } from "preact/hooks";
import { request } from "../api-client.ts";
import type { Container, ContainerRow, ContainerRowPage } from "../entities.ts";
import { useLiveEvents } from "../live-feed.tsx";

/** Rows of one request. */
const BLOCK = 100;
/** Blocks before and after those in view that stay in memory. */
const BLOCKS_AROUND = 20;
/** After a change, the rows in view are read again: soon, and not more often than this. */
const REFRESH_MS = 700;

export type ContainerRows = {
  /** Undefined until the first response. */
  total: number | undefined;
  groups: ContainerRowPage["groups"] | undefined;
  rowAt(index: number): ContainerRow | undefined;
  /** Which rows are in view. */
  show(first: number, last: number): void;
  error: Error | undefined;
  reload(): void;
  /** Soon, but not while a button of a row is under the pointer: the button of another row could come there. */
  refresh(): void;
};

type LoadedRows = { key: string; total: number; groups: ContainerRowPage["groups"]; blocks: ReadonlyMap<number, readonly ContainerRow[]> };

/** The rows of a query (`search=web&sort=cpu`), read as they come into view, and kept up to date. */
export function useContainerRows(query: string): ContainerRows {
  const [loaded, setLoaded] = useState<LoadedRows>();
  const [error, setError] = useState<Error>();
  const [turn, setTurn] = useState(0);
  const view = useRef({ first: 0, last: 0 });
  const requested = useRef({ stop: new AbortController(), blocks: new Set<number>() });

  const read = useRef((_block: number) => {});
  read.current = (block) => {
    const { stop, blocks } = requested.current;
    if (blocks.has(block)) return;
    blocks.add(block);
    const path = `/docker/containers/rows?${query}${query === "" ? "" : "&"}offset=${block * BLOCK}&limit=${BLOCK}`;
    request<ContainerRowPage>(path, { signal: stop.signal }).then(
      ({ total, groups, rows }) => {
        if (stop.signal.aborted) return;
        setError(undefined);
        setLoaded((before) => {
          const kept = before?.key === query ? [...before.blocks] : [];
          return { key: query, total, groups, blocks: new Map([...kept, [block, rows] as const].filter(([one]) => isNear(one))) };
        });
      },
      (reason: unknown) => {
        if (stop.signal.aborted) return;
        blocks.delete(block);
        setError(reason as Error);
      },
    );
  };
  const isNear = (block: number) => {
    const { first, last } = view.current;
    return block >= Math.floor(first / BLOCK) - BLOCKS_AROUND && block <= Math.floor(last / BLOCK) + BLOCKS_AROUND;
  };
  const readView = () => {
    const { first, last } = view.current;
    const { blocks } = requested.current;
    // What is dropped is read again when it comes into view again.
    for (const block of blocks) if (!isNear(block)) blocks.delete(block);
    for (let block = Math.floor(first / BLOCK); block <= Math.floor(last / BLOCK); block++) read.current(block);
  };

  // Rows that are shown stay until their successors are here.
  useEffect(() => {
    const stop = new AbortController();
    requested.current = { stop, blocks: new Set() };
    readView();
    return () => stop.abort();
  }, [query, turn]);

  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const reload = () => setTurn((last) => last + 1);
  const refresh = () => {
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      if (document.querySelector("td.actions:hover") === null) reload();
      else refresh();
    }, REFRESH_MS);
  };
  useLiveEvents((event) => {
    if (event.kind === "image") return;
    if (event.kind === "resync") return reload();
    if (event.kind === "container") setLoaded((before) => before && withChange(before, event.entity));
    refresh();
  });

  return {
    total: loaded?.total,
    groups: loaded?.groups,
    rowAt: (index) => loaded?.blocks.get(Math.floor(index / BLOCK))?.[index % BLOCK],
    show: (first, last) => {
      view.current = { first, last };
      readView();
    },
    error,
    reload,
    refresh,
  };
}

function withChange(loaded: LoadedRows, { id, name, status, note, lastActive }: Container): LoadedRows {
  for (const [block, rows] of loaded.blocks) {
    const index = rows.findIndex((row) => row.id === id);
    const row = rows[index];
    if (row) return { ...loaded, blocks: new Map([...loaded.blocks, [block, rows.with(index, { ...row, name, status, note, lastActive })]]) };
  }
  return loaded;
}

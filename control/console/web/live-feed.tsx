import { type ComponentChildren, createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { ask, type Refused } from "./api-client.ts";
import type { Container, Image } from "./entities.ts";

/** What the server says of changes, as they happen; after `resync` something may have been missed. */
export type LiveEvent =
  | { kind: "container"; entity: Container }
  | { kind: "image"; entity: Image }
  | { kind: "removed"; entity: { id: string } }
  | { kind: "resync" };

/** When a stream that was refused is asked for again. */
const AGAIN_MS = 2_000;

type Hear = (event: LiveEvent) => void;

const Feed = createContext<(hear: Hear) => () => void>(() => () => undefined);

/** One stream for the whole console; who is below it hears by `useLive`. Says so while it is broken: what is shown may be old then. */
export function LiveFeed({ children }: { children: ComponentChildren }) {
  const listeners = useRef(new Set<Hear>());
  const [broken, setBroken] = useState(false);
  const watch = useRef((hear: Hear) => {
    listeners.current.add(hear);
    return () => void listeners.current.delete(hear);
  });

  useEffect(() => {
    let stop = () => {};
    const tell = (event: LiveEvent) => {
      for (const hear of listeners.current) hear(event);
    };
    const listen = () => {
      const source = new EventSource("/api/docker/events");
      for (const kind of ["container", "image", "removed"] as const)
        source.addEventListener(kind, ({ data }: MessageEvent<string>) => tell({ kind, entity: JSON.parse(data) }));
      source.addEventListener("resync", () => tell({ kind: "resync" }));
      source.addEventListener("open", () => setBroken(false));
      source.addEventListener("error", () => {
        setBroken(true);
        // A broken stream the browser takes up by itself; one that was refused, as while berth restarts, it gives up for good.
        if (source.readyState !== EventSource.CLOSED) return;
        const timer = setTimeout(listen, AGAIN_MS);
        stop = () => clearTimeout(timer);
      });
      stop = () => source.close();
    };
    listen();
    return () => stop();
  }, []);

  return (
    <Feed.Provider value={watch.current}>
      {broken ? (
        <p class="broken" role="status">
          berth cannot be heard at the moment: what is shown may be old.
        </p>
      ) : null}
      {children}
    </Feed.Provider>
  );
}

/** `hear` may be another function each time. */
export function useLive(hear: Hear): void {
  const watch = useContext(Feed);
  const latest = useRef(hear);
  latest.current = hear;
  useEffect(() => watch((event) => latest.current(event)), [watch]);
}

export type Entities<T> = { all: T[] | undefined; error: Refused | undefined; again(): void };

const PAGE = 200;

/** All containers, or all images, in the order of their names, as they are now. */
export function useEntities<K extends "container" | "image">(kind: K): Entities<K extends "container" ? Container : Image> {
  type T = K extends "container" ? Container : Image;
  const [known, setKnown] = useState<ReadonlyMap<string, T>>();
  const [error, setError] = useState<Refused>();
  const [turn, setTurn] = useState(0);

  /** The rows of the pages read so far, and the ids that events changed meanwhile: a page may be older than they are. */
  const reading = useRef({ found: new Map<string, T>(), changed: new Set<string>() });

  useEffect(() => {
    const gone = new AbortController();
    const { found, changed } = (reading.current = { found: new Map<string, T>(), changed: new Set<string>() });
    const read = async () => {
      for (let page = 1; ; page++) {
        const some = await ask<T[]>(`/docker/${kind}s?include=short&order=name&limit=${PAGE}&page=${page}`, { signal: gone.signal });
        for (const one of some) if (!changed.has(one.id)) found.set(one.id, one);
        const whole = some.length < PAGE;
        // On a slow line a whole list takes long, so the first one is shown page by page; a later one replaces it at once.
        setKnown((before) => (whole || before === undefined || before.size < found.size ? new Map(found) : before));
        setError(undefined);
        if (whole) return;
      }
    };
    read().catch((reason: unknown) => {
      if (!gone.signal.aborted) setError(reason as Refused);
    });
    return () => gone.abort();
  }, [kind, turn]);
  const again = () => setTurn((last) => last + 1);
  useLive((event) => {
    if (event.kind === "resync") return again();
    if (event.kind !== kind && event.kind !== "removed") return undefined;
    const change = (map: Map<string, T>) =>
      event.kind === "removed" ? void map.delete(event.entity.id) : void map.set(event.entity.id, event.entity as T);
    reading.current.changed.add(event.entity.id);
    change(reading.current.found);
    return setKnown((before) => {
      if (before === undefined) return before;
      const after = new Map(before);
      change(after);
      return after;
    });
  });

  const all = known && [...known.values()].toSorted((one, other) => one.name.localeCompare(other.name));
  return { all, error, again };
}

/** One of them; undefined while it is asked for. */
export function useEntity<T extends Container | Image>(kind: "container" | "image", id: string) {
  const [value, setValue] = useState<T>();
  const [error, setError] = useState<Refused>();
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const gone = new AbortController();
    ask<T>(`/docker/${kind}s/${id}`, { signal: gone.signal }).then(
      (found) => (setValue(() => found), setError(undefined)),
      (reason: unknown) => {
        if (!gone.signal.aborted) setError(reason as Refused);
      },
    );
    return () => gone.abort();
  }, [kind, id, turn]);
  const again = () => setTurn((last) => last + 1);
  useLive((event) => {
    if (event.kind === "resync" || (event.kind === "removed" && event.entity.id === id)) again();
    else if (event.kind === kind && event.entity.id === id) setValue(() => event.entity as T);
  });
  return { value, error, again };
}

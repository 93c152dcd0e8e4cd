import { type ComponentChildren, createContext } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { request, type RequestError } from "./api-client.ts";
import type { Container, Image } from "./entities.ts";

/** A change on the server. After `resync`, earlier changes may be missing. */
export type LiveEvent =
  | { kind: "container"; entity: Container }
  | { kind: "image"; entity: Image }
  | { kind: "removed"; entity: { id: string } }
  | { kind: "resync" };

/** When a refused stream is requested again. */
const RETRY_MS = 2_000;

type LiveListener = (event: LiveEvent) => void;

const Feed = createContext<(listener: LiveListener) => () => void>(() => () => undefined);

/**
 * One stream for the whole console; components below it use `useLiveEvents`. While it is broken, a message says that the page may be out of date. Without a
 * session it is refused, and a sign-in form says so.
 */
export function LiveFeed({ children, isSignedIn }: { children: ComponentChildren; isSignedIn: boolean }) {
  const listeners = useRef(new Set<LiveListener>());
  const [broken, setBroken] = useState(false);
  const watch = useRef((listener: LiveListener) => {
    listeners.current.add(listener);
    return () => void listeners.current.delete(listener);
  });

  useEffect(() => {
    let stop = () => {};
    const publish = (event: LiveEvent) => {
      for (const listener of listeners.current) listener(event);
    };
    const listen = () => {
      const source = new EventSource("/api/docker/events?include=short");
      for (const kind of ["container", "image", "removed"] as const)
        source.addEventListener(kind, ({ data }: MessageEvent<string>) => publish({ kind, entity: JSON.parse(data) }));
      source.addEventListener("resync", () => publish({ kind: "resync" }));
      source.addEventListener("open", () => setBroken(false));
      source.addEventListener("error", () => {
        setBroken(true);
        // The browser reconnects a broken stream itself. It gives up a refused one, as while berth restarts.
        if (source.readyState !== EventSource.CLOSED) return;
        // The stream does not say why it was refused. If the session has ended, this request does.
        request("/users/current").catch(() => {});
        const timer = setTimeout(listen, RETRY_MS);
        stop = () => clearTimeout(timer);
      });
      stop = () => source.close();
    };
    listen();
    return () => stop();
  }, []);

  return (
    <Feed.Provider value={watch.current}>
      {broken && isSignedIn ? (
        <p class="banner broken" role="status">
          Connection lost. Reconnecting…
        </p>
      ) : null}
      {children}
    </Feed.Provider>
  );
}

/** `listener` may be another function at each call. */
export function useLiveEvents(listener: LiveListener): void {
  const watch = useContext(Feed);
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => watch((event) => latest.current(event)), [watch]);
}

export type EntitiesState<T> = { all: T[] | undefined; error: RequestError | undefined; reload(): void };

const PAGE = 200;
/** Of ten thousand names, it compares all in a few milliseconds. */
const BY_NAME = new Intl.Collator();

/** All images, by name, kept up to date. */
export function useImages(): EntitiesState<Image> {
  const [known, setKnown] = useState<ReadonlyMap<string, Image>>();
  const [error, setError] = useState<RequestError>();
  const [turn, setTurn] = useState(0);

  /** The rows of the pages read so far, and the ids that events changed since: a page may be older than an event. */
  const reading = useRef({ found: new Map<string, Image>(), changed: new Set<string>() });

  useEffect(() => {
    const gone = new AbortController();
    const { found, changed } = (reading.current = { found: new Map<string, Image>(), changed: new Set<string>() });
    const read = async () => {
      for (let page = 1; ; page++) {
        const some = await request<Image[]>(`/docker/images?include=short&order=name&limit=${PAGE}&page=${page}`, { signal: gone.signal });
        for (const one of some) if (!changed.has(one.id)) found.set(one.id, one);
        const whole = some.length < PAGE;
        // A whole list takes long on a slow line: the first one appears page by page, and later ones replace it at once.
        setKnown((before) => (whole || before === undefined || before.size < found.size ? new Map(found) : before));
        setError(undefined);
        if (whole) return;
      }
    };
    read().catch((reason: unknown) => {
      if (!gone.signal.aborted) setError(reason as RequestError);
    });
    return () => gone.abort();
  }, [turn]);
  const reload = () => setTurn((last) => last + 1);
  useLiveEvents((event) => {
    if (event.kind === "resync") return reload();
    if (event.kind === "container") return undefined;
    const change = (map: Map<string, Image>) =>
      event.kind === "removed" ? void map.delete(event.entity.id) : void map.set(event.entity.id, event.entity);
    reading.current.changed.add(event.entity.id);
    change(reading.current.found);
    return setKnown((before) => {
      if (before === undefined) return before;
      const after = new Map(before);
      change(after);
      return after;
    });
  });

  const all = useMemo(() => known && [...known.values()].toSorted((one, other) => BY_NAME.compare(one.name, other.name)), [known]);
  return { all, error, reload };
}

/** One container or image; undefined while it loads. */
export function useEntity<T extends Container | Image>(kind: "container" | "image", id: string) {
  const [value, setValue] = useState<T>();
  const [error, setError] = useState<RequestError>();
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const gone = new AbortController();
    request<T>(`/docker/${kind}s/${encodeURIComponent(id)}`, { signal: gone.signal }).then(
      (found) => (setValue(() => found), setError(undefined)),
      (reason: unknown) => {
        if (!gone.signal.aborted) setError(reason as RequestError);
      },
    );
    return () => gone.abort();
  }, [kind, id, turn]);
  const reload = () => setTurn((last) => last + 1);
  useLiveEvents((event) => {
    if (event.kind === "resync" || (event.kind === "removed" && event.entity.id === id)) reload();
    else if (event.kind === kind && event.entity.id === id) {
      // An event has no long texts: what it has is shown at once, and the rest is read again.
      setValue((before) => before && mergeShort(before, event.entity as T));
      reload();
    }
  });
  return { value, error, reload };
}

/** Keeps the long texts, the variables and the list of replicas of `whole`. */
function mergeShort<T extends Container | Image>(whole: T, short: T): T {
  if (!("dockerfile" in whole) || typeof whole.dockerfile === "string")
    return { ...short, dockerfile: whole.dockerfile, logs: (whole as Image).logs };
  const { environmentVars, lastLogs, dockerfile, replicas } = whole as Container;
  const now = "replicas" in short ? short.replicas : undefined;
  const each = now === undefined || replicas?.each === undefined ? {} : { replicas: { ...now, each: replicas.each } };
  return { ...short, ...each, environmentVars, lastLogs, dockerfile };
}

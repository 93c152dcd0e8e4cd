import { useLayoutEffect, useState } from "preact/hooks";

/** The path in the console. It is behind `#`, so the server has one page, and links are stable. */
export type ConsolePath = readonly string[];

/** Path and query: `#/containers?search=web&sort=cpu`. */
type ConsoleLocation = { path: ConsolePath; query: URLSearchParams };

function useConsoleLocation(): ConsoleLocation {
  const [at, setAt] = useState(parseHash);
  // A layout effect: an ordinary one runs after a frame, and who types before it would change the address while nothing listens.
  useLayoutEffect(() => {
    const changed = () => setAt(parseHash());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return at;
}

export function useConsolePath(): ConsolePath {
  return useConsoleLocation().path;
}

/** What a list shows, kept in the address: it survives reloads and **Back**. A value of "" removes its name. */
export type ConsoleQuery = { value(name: string): string; set(values: Readonly<Record<string, string>>): void };

export function useConsoleQuery(): ConsoleQuery {
  const { query } = useConsoleLocation();
  return {
    value: (name) => query.get(name) ?? "",
    set: (values) => {
      // Two changes may follow each other before the next render.
      const { path, query: after } = parseHash();
      for (const [name, value] of Object.entries(values)) {
        if (value === "") after.delete(name);
        else after.set(name, value);
      }
      const text = after.toString();
      // Replaced: one Back leaves the list, however often its search changed.
      history.replaceState(history.state, "", `${linkTo(...path)}${text === "" ? "" : `?${text}`}`);
      dispatchEvent(new HashChangeEvent("hashchange"));
    },
  };
}

export function linkTo(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

function parseHash(): ConsoleLocation {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return {
    path: path
      .split("/")
      .filter((part) => part !== "")
      .map(decodePart),
    query: new URLSearchParams(query),
  };
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

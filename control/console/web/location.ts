import { useEffect, useState } from "preact/hooks";

/** The path in the console. It is behind `#`, so the server has one page, and links are stable. */
export type ConsolePath = readonly string[];

export function useConsolePath(): ConsolePath {
  const [path, setPath] = useState(parseHash);
  useEffect(() => {
    const changed = () => setPath(parseHash());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return path;
}

export function linkTo(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

function parseHash(): ConsolePath {
  return location.hash
    .replace(/^#\/?/, "")
    .split("/")
    .filter((part) => part !== "")
    .map(decodePart);
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

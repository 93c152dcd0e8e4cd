import { useCallback, useEffect, useState } from "preact/hooks";
import { ask } from "./api-client.ts";

/** What was last asked for: an answer stays while a newer one is on its way, or fails. */
export type Asked<T> = { value: T | undefined; error: Error | undefined; again(): void };

/** Asks when it is first shown, when `path` or `turn` changes, every `everyMs` where that is given, and when `again` is called. */
export function useAsked<T>(path: string, { everyMs, turn: outer }: { everyMs?: number; turn?: string } = {}): Asked<T> {
  const [value, setValue] = useState<T>();
  const [error, setError] = useState<Error>();
  const [turn, setTurn] = useState(0);

  useEffect(() => setValue(undefined), [path]);
  useEffect(() => {
    const gone = new AbortController();
    ask<T>(path, { signal: gone.signal }).then(
      (answer) => {
        setValue(() => answer);
        setError(undefined);
      },
      (reason: unknown) => {
        if (!gone.signal.aborted) setError(reason as Error);
      },
    );
    return () => gone.abort();
  }, [path, turn, outer]);
  const again = useCallback(() => setTurn((last) => last + 1), []);
  useEffect(() => {
    if (everyMs === undefined) return undefined;
    const timer = setInterval(() => document.hidden || again(), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, again]);

  return { value, error, again };
}

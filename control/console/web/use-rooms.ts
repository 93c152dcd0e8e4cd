import { useEffect, useState } from "preact/hooks";
import { send } from "./api-client.ts";
import type { Room } from "./entities.ts";

/** Which rooms there are to be shown: a registry without a control plane has no containers. Asked once, before anybody has signed in. */
export function useRooms(): { rooms: readonly Room[] | undefined; error: Error | undefined; again(): void } {
  const [rooms, setRooms] = useState<readonly Room[]>();
  const [error, setError] = useState<Error>();
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const gone = new AbortController();
    send("/console/rooms", { signal: gone.signal })
      .then((answer) => answer.json() as Promise<{ rooms: Room[] }>)
      .then(
        (said) => (setRooms(said.rooms), setError(undefined)),
        (reason: unknown) => {
          if (!gone.signal.aborted) setError(reason as Error);
        },
      );
    return () => gone.abort();
  }, [turn]);
  return { rooms, error, again: () => setTurn((last) => last + 1) };
}

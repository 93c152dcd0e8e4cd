import { useEffect, useState } from "preact/hooks";
import { send } from "../api-client.ts";

/** So many lines are asked for, and so many characters kept: a page is no archive. */
const LINES = 2_000;
const MOST_CHARACTERS = 2_000_000;

/** A container's last lines; with `follow` also what it writes from then on. Begins anew with another `turn`, such as its status. */
export function useLogs(id: string, follow: boolean, turn: string): { text: string; error: Error | undefined } {
  const [text, setText] = useState("");
  const [error, setError] = useState<Error>();

  useEffect(() => {
    const gone = new AbortController();
    const read = async () => {
      const answer = await send(`/api/docker/containers/${id}/logs?limit=${LINES}&follow=${follow}`, { signal: gone.signal });
      setError(undefined);
      let all = "";
      for await (const piece of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        all = (all + piece).slice(-MOST_CHARACTERS);
        setText(all);
      }
      setText(all);
    };
    read().catch((reason: unknown) => {
      if (!gone.signal.aborted) setError(reason as Error);
    });
    return () => gone.abort();
  }, [id, follow, turn]);

  return { text, error };
}

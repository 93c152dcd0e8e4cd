import { useEffect, useRef, useState } from "preact/hooks";
import { Failure } from "../parts/display.tsx";
import { send } from "../api-client.ts";

/** The log tail of a container. While it is followed, it scrolls to the end. */
export function Logs({ id, name, version }: { id: string; name: string; version: string }) {
  const [follow, setFollow] = useState(true);
  const [search, setSearch] = useState("");
  const [timestamps, setTimestamps] = useState(false);
  const [previous, setPrevious] = useState(false);
  const { text, error } = useLogs(id, { follow, timestamps, previous }, version);
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text, follow]);

  const lines = text.split("\n").filter((line) => line.toLowerCase().includes(search.toLowerCase()));
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = `${name}.log`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <section aria-labelledby="logs">
      <h2 id="logs">Logs</h2>
      <Failure error={error} />
      <div class="tools">
        <input
          type="search"
          aria-label="Search in the logs"
          placeholder="Search in the logs"
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
        <label>
          <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} /> Follow
        </label>
        <label>
          <input type="checkbox" checked={timestamps} onChange={(event) => setTimestamps(event.currentTarget.checked)} /> Times
        </label>
        <label>
          <input type="checkbox" checked={previous} onChange={(event) => setPrevious(event.currentTarget.checked)} /> Previous run
        </label>
        <button type="button" onClick={save} disabled={text === ""}>
          Download
        </button>
      </div>
      <pre class="logs" ref={box} tabIndex={0} aria-label={`Logs of ${name}`}>
        {lines.join("\n") || "No log lines."}
      </pre>
    </section>
  );
}

/** The requested lines, and the characters that the page keeps. */
const LINES = 2_000;
const MOST_CHARACTERS = 2_000_000;

/** The last lines of a container; with `follow` also later lines. Starts again with another `version`: a status, or a note of a start whose process may not have run before. */
type LogQuery = { follow: boolean; timestamps: boolean; previous: boolean };

function useLogs(id: string, { follow, timestamps, previous }: LogQuery, version: string): { text: string; error: Error | undefined } {
  const [text, setText] = useState("");
  const [error, setError] = useState<Error>();

  useEffect(() => {
    const gone = new AbortController();
    const query = `limit=${LINES}&follow=${follow}&timestamps=${timestamps}&previous=${previous}`;
    const read = async () => {
      const answer = await send(`/api/docker/containers/${id}/logs?${query}`, { signal: gone.signal });
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
  }, [id, follow, timestamps, previous, version]);

  return { text, error };
}

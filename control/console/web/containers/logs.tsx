import { useEffect, useRef, useState } from "preact/hooks";
import { send } from "../api-client.ts";
import { Failure, Section } from "../parts/display.tsx";
import { Toggle } from "../parts/controls.tsx";
import type { Container } from "../entities.ts";
import { type LogLine, parseLogLine } from "./log-line.ts";
import { replicaOf, ReplicaPicker } from "./replica-picker.tsx";

/** Which lines each choice shows. Lines without a level belong to the line before. */
const LEVELS = [
  { name: "all levels", shows: undefined },
  { name: "warnings and errors", shows: ["warn", "error"] },
  { name: "errors", shows: ["error"] },
] as const;

/** So many lines are in the page; **Download** has all that were received. */
const MOST_SHOWN = 5_000;

/** The log tail of a container. While it is followed, it scrolls to the end. */
export function Logs({ container: { id, name, status, note, replicas } }: { container: Container }) {
  const [chosen, setChosen] = useState(1);
  const { replica, status: replicaStatus = status } = replicaOf(replicas, chosen);
  const [follow, setFollow] = useState(true);
  const [search, setSearch] = useState("");
  const [times, setTimes] = useState(true);
  const [wrap, setWrap] = useState(true);
  const [previous, setPrevious] = useState(false);
  const [level, setLevel] = useState<string>(LEVELS[0].name);
  const { text, error } = useLogs(id, { follow, previous, replica }, `${replicaStatus} ${note ?? ""}`);
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text, follow, level, search]);

  const lines = shownLines(text, { search, level });
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = `${name}${replica === 1 ? "" : `-replica-${replica}`}${previous ? "-previous" : ""}.log`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <Section title="Logs">
      <Failure error={error} />
      <div class="tools">
        <input
          type="search"
          aria-label="Search in the logs"
          placeholder="Search in the logs"
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
        <select aria-label="Level" value={level} onChange={(event) => setLevel(event.currentTarget.value)}>
          {LEVELS.map((one) => (
            <option key={one.name}>{one.name}</option>
          ))}
        </select>
        <ReplicaPicker replicas={replicas} value={replica} onChange={setChosen} />
        <Toggle label="Follow" value={follow} onChange={setFollow} />
        <Toggle label="Times" value={times} onChange={setTimes} />
        <Toggle label="Wrap" value={wrap} onChange={setWrap} />
        <Toggle label="Previous run" value={previous} onChange={setPrevious} />
        <button type="button" onClick={save} disabled={text === ""}>
          Download
        </button>
      </div>
      <pre class={`logs${wrap ? "" : " unwrapped"}`} ref={box} tabIndex={0} aria-label={`Logs of ${name}`}>
        {lines.length === 0
          ? "No log lines."
          : lines.map(({ key, time, level: lineLevel, text: lineText }) => (
              <span key={key} class={`log-line ${lineLevel ?? ""}`}>
                {times && time !== undefined ? <time dateTime={time}>{clockTime(time)} </time> : null}
                {lineText}
                {"\n"}
              </span>
            ))}
      </pre>
    </Section>
  );
}

type KeyedLine = LogLine & { key: number };

function shownLines(text: string, { search, level }: { search: string; level: string }): KeyedLine[] {
  const word = search.toLowerCase();
  const shows: readonly string[] | undefined = LEVELS.find(({ name }) => name === level)?.shows;
  const shown: KeyedLine[] = [];
  let last: LogLine["level"];
  for (const [key, raw] of text.split("\n").entries()) {
    if (raw === "") continue;
    const line = parseLogLine(raw);
    last = line.level ?? last;
    if (shows && !shows.includes(last ?? "")) continue;
    if (word === "" || line.text.toLowerCase().includes(word)) shown.push({ ...line, key });
  }
  return shown.slice(-MOST_SHOWN);
}

/** In the browser's time zone. */
function clockTime(time: string): string {
  const date = new Date(time);
  return `${date.toLocaleTimeString("en-GB")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** The requested lines, and the characters that the page keeps. */
const LINES = 2_000;
const MOST_CHARACTERS = 2_000_000;

type LogQuery = { follow: boolean; previous: boolean; replica: number };

/**
 * The last lines of a container, with their times; with `follow` also later lines. Starts again with another `version`: a status, or a note of a start whose
 * process may not have run before.
 */
function useLogs(id: string, { follow, previous, replica }: LogQuery, version: string): { text: string; error: Error | undefined } {
  const [text, setText] = useState("");
  const [error, setError] = useState<Error>();

  useEffect(() => {
    const gone = new AbortController();
    const query = `limit=${LINES}&follow=${follow}&timestamps=true&previous=${previous}&replica=${replica}`;
    const read = async () => {
      const answer = await send(`/api/docker/containers/${id}/logs?${query}`, { signal: gone.signal });
      setError(undefined);
      let all = "";
      let drawing = 0;
      const draw = () => {
        drawing = 0;
        if (!gone.signal.aborted) setText(all);
      };
      for await (const piece of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        all = (all + piece).slice(-MOST_CHARACTERS);
        // At most once a frame, however fast the lines come.
        if (drawing === 0) drawing = requestAnimationFrame(draw);
      }
      draw();
    };
    read().catch((reason: unknown) => {
      if (!gone.signal.aborted) setError(reason as Error);
    });
    return () => gone.abort();
  }, [id, follow, previous, replica, version]);

  return { text, error };
}

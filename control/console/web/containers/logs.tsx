import { useEffect, useRef, useState } from "preact/hooks";
import { Failure } from "../parts/failure.tsx";
import { useLogs } from "./use-logs.ts";

/** The last lines of a container; followed, they stay at the end. */
export function Logs({ id, name, turn }: { id: string; name: string; turn: string }) {
  const [follow, setFollow] = useState(true);
  const [wanted, setWanted] = useState("");
  const { text, error } = useLogs(id, follow, turn);
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text, follow]);

  const lines = text.split("\n").filter((line) => line.toLowerCase().includes(wanted.toLowerCase()));
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
          value={wanted}
          onInput={(event) => setWanted(event.currentTarget.value)}
        />
        <label>
          <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} /> Follow
        </label>
        <button type="button" onClick={save} disabled={text === ""}>
          Download
        </button>
      </div>
      <pre class="logs" ref={box} tabIndex={0} aria-label={`Logs of ${name}`}>
        {lines.join("\n") || "No lines."}
      </pre>
    </section>
  );
}

/** The time that begins each line of a log, where the orchestrator knows it: `2026-11-30T03:20:01.123Z text`, with up to nine digits. */
const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z) ?/;

/**
 * Writes only lines that are not older than `since`, in epoch ms. A line without a time is as old as the one before it, and written if none has a time.
 * `keepsTimes`: the times stay. Takes pieces of text, and writes whole lines.
 */
export function createSinceFilter(since: number, keepsTimes: boolean, write: (text: string) => void): { piece(text: string): void; end(): void } {
  let rest = "";
  let isShown = true;
  const line = (text: string) => {
    const [prefix = "", time] = TIME.exec(text) ?? [];
    if (time !== undefined) isShown = Date.parse(time) >= since;
    if (isShown) write(keepsTimes ? text : text.slice(prefix.length));
  };
  return {
    piece: (text) => {
      const lines = (rest + text).split(/(?<=\n)/);
      rest = lines.at(-1)?.endsWith("\n") === false ? (lines.pop() ?? "") : "";
      for (const one of lines) line(one);
    },
    end: () => {
      if (rest !== "") line(rest);
      rest = "";
    },
  };
}

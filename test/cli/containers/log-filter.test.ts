import t from "tap";
import { createSinceFilter } from "../../../cli/containers/log-filter.ts";

const LOG = [
  "2026-11-30T03:20:00.900Z old\n",
  "2026-11-30T03:20:01.000000001Z new\n",
  "  a line without a time\n",
  "2026-11-30T03:20:00.100Z a late one\n",
  "2026-11-30T03:20:02Z last, without an end of line",
].join("");
const SINCE = Date.parse("2026-11-30T03:20:01Z");

const filtered = (text: string, keepsTimes: boolean, size: number) => {
  let written = "";
  const filter = createSinceFilter(SINCE, keepsTimes, (piece) => (written += piece));
  for (let at = 0; at < text.length; at += size) filter.piece(text.slice(at, at + size));
  filter.end();
  return written;
};

t.test("only lines since a time, however the text is cut into pieces", async (t) => {
  for (const size of [1, 7, 1_000]) {
    t.equal(filtered(LOG, false, size), "new\n  a line without a time\nlast, without an end of line");
    t.match(filtered(LOG, true, size), /^2026-11-30T03:20:01\.000000001Z new\n {2}a line/);
  }
});

t.test("a log without times is written whole", async (t) => {
  t.equal(filtered("one\ntwo\n", false, 3), "one\ntwo\n");
});

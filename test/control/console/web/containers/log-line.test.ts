import t from "tap";
import { parseLogLine } from "../../../../../control/console/web/containers/log-line.ts";

t.test("a line has its time, its text without colours, and its level also where that is coloured", async (t) => {
  const time = "2026-11-30T08:00:00.123Z";
  t.same(parseLogLine(`${time} \u001b[31mERROR\u001b[0m no licence`), { time, level: "error", text: "ERROR no licence" });
  t.same(parseLogLine("\u001b[33mWARN\u001b[39m slow"), { time: undefined, level: "warn", text: "WARN slow" });
  t.same(parseLogLine("GET / 200"), { time: undefined, level: undefined, text: "GET / 200" });
});

import { plainLogText } from "../../../../lib/plain-log-text.ts";

/** One line of a log. `time`: as the orchestrator knows it, ISO 8601. */
export type LogLine = { time: string | undefined; level: "error" | "warn" | "info" | undefined; text: string };

const TIME = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z) /;
/** Levels as pino, logging of Python, log4j, glog and syslog write them near the beginning. */
const ERROR = /\b(?:error|fatal|critical|panic|exception|traceback|emerg|alert)\b|"level":\s*(?:50|60)\b|^E\d{4} /i;
const WARN = /\bwarn(?:ing)?\b|"level":\s*40\b|^W\d{4} /i;
const INFO = /\b(?:info|debug|trace|notice)\b|"level":\s*[123]0\b|^I\d{4} /i;
/** A level stands near the beginning; a word in the message is not one. */
const HEAD = 80;

export function parseLogLine(line: string): LogLine {
  const time = TIME.exec(line)?.[1];
  const text = plainLogText(time === undefined ? line : line.slice(time.length + 1));
  const head = text.slice(0, HEAD);
  const level = ERROR.test(head) ? "error" : WARN.test(head) ? "warn" : INFO.test(head) ? "info" : undefined;
  return { time, level, text };
}

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MISTAKES } from "./mistakes.ts";

/** What an author reads of one broken package; texts of several lines. */
export type Reading = { publish: string; response?: string; explain?: string; console?: string };
export type Readings = Readonly<Record<string, Reading>>;

export const READINGS_FILE = join(import.meta.dirname, "readings.json");

/** Of the last run that wrote them. */
export function loadReadings(): Readings {
  return JSON.parse(readFileSync(READINGS_FILE, "utf8")) as Readings;
}

/** The page docs/broken-packages.md. */
export function brokenPackagesPage(readings: Readings = loadReadings()): string {
  const rows = MISTAKES.map(({ title, wrong, repair }) => `| [${title}](#${anchorOf(title)}) | ${wrong} | ${repair} |\n`);
  return `# Ten broken packages

<!-- Written by \`npm run docs\` from test/program/broken-packages; a test fails when berth says something else. -->

This page is for plugin authors. It has the ten most common mistakes in packages with containers, and what berth says about each: when you publish, in the
response to a request, in \`berth explain\` and in the console. \`test/program/broken-packages.test.ts\` publishes each one by \`berth publish\` to a real Docker
engine and compares every sentence. To shorten it, a start may take 30 s there; the default is 5 minutes. "…" stands for an id or a time.

| mistake | what is wrong | what to do |
| --- | --- | --- |
${rows.join("")}
By symptom: [troubleshooting](troubleshooting.md). How a package should be: [for plugin authors](plugin-authors.md).
${MISTAKES.map(({ name, title, wrong }) => `\n## ${title}\n\nWrong: ${wrong}.\n${readingText(readings[name])}`).join("")}`;
}

function readingText(reading: Reading | undefined): string {
  const places = [
    ["`berth publish` prints", reading?.publish],
    ["The response", reading?.response],
    ["`berth explain`", reading?.explain],
    ["The console", reading?.console],
  ] as const;
  return places.flatMap(([name, text]) => (text === undefined ? [] : [`\n${name}:\n\n\`\`\`\n${text}\n\`\`\`\n`])).join("");
}

function anchorOf(title: string): string {
  return title.toLowerCase().replaceAll(" ", "-");
}

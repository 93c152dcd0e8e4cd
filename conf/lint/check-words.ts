/**
 * `npm run words`: how many words of the list each folder has, and whether that is more than conf/lint/words.json allows.
 * `-- --lower` writes the smaller numbers into it. `-- <path>` prints each occurrence below a path.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadSourceFiles, type Allowed, countByFolder, duplicateTypes, findWords, lowered, wordProblems } from "./words.ts";

const ROOT = join(import.meta.dirname, "../..");
const ALLOWED = join(import.meta.dirname, "words.json");

const [argument] = process.argv.slice(2);
const files = loadSourceFiles(ROOT);
const allowed = JSON.parse(readFileSync(ALLOWED, "utf8")) as Allowed;

if (argument === "--lower") writeFileSync(ALLOWED, `${JSON.stringify(lowered(files, allowed), undefined, 2)}\n`);
else if (argument === undefined) report();
else list(argument);

function list(prefix: string): void {
  for (const { path, text } of files.filter((file) => file.path.startsWith(prefix))) {
    for (const [index, line] of text.split("\n").entries()) {
      const words = findWords({ path, text: line });
      if (words.length > 0) console.log(`${path}:${index + 1}: ${words.join(", ")}: ${line.trim().slice(0, 160)}`);
    }
  }
}

function report(): void {
  const words = Object.values(countByFolder(files)).reduce((sum, count) => sum + count, 0);
  const lines = files.reduce((sum, { text }) => sum + text.split("\n").length - 1, 0);
  console.log(
    `words of the list: ${words} (${((words * 1000) / lines).toFixed(2)} per 1,000 lines); type names not unique: ${duplicateTypes(files).size}`,
  );
  const problems = wordProblems(files, allowed);
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
}

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The words that the project decided against, in identifiers and in prose, and the search for them and for type names that are not unique.
 * docs/contributing/glossary.md says what to write instead.
 *
 * `npm run words`: how many words of the list each folder has, and whether that is more than conf/lint/words.json allows.
 * `-- --lower` writes the smaller numbers into it. `-- <path>` prints each occurrence below a path.
 */

export type SourceFile = { path: string; text: string };

/** Whole words after camelCase and kebab-case are split, in any case. */
const WORDS = [
  ["told", "asked", "said", "heard", "whom", "whoever", "nobody", "somebody", "anybody"],
  ["wish", "wishes", "wished", "wishing", "doubt", "doubts", "doubted", "heal", "heals", "healed", "bury", "buries", "buried"],
  ["flights", "standing", "standings", "room", "rooms", "door", "doors", "stranger", "strangers", "people", "linger", "lingers", "lingered"],
  ["sieve", "sieves", "shelf", "shelves", "verdict", "verdicts", "hurry", "promised"],
].flat();

const PHRASES = ["last words", "last word", "on their way", "on its way", "let in", "lets in", "may be at", "would not be had"];

/** Good words in a sentence, but poor names for what a declaration holds. */
const NAMES = ["found", "known", "seen", "looks", "looking", "parts", "about"];

type Exception = { path: string; words: readonly string[] | "all"; reason: string };

/** A path that ends in `/` is a folder. */
const EXCEPTIONS: readonly Exception[] = [
  { path: "conf/lint/words.ts", words: "all", reason: "the list itself" },
  { path: "test/conf/lint/words.test.ts", words: "all", reason: "tests the list" },
  { path: "docs/contributing/glossary.md", words: "all", reason: "gives the word to use instead" },
];

/** Terms that are stored or on the wire, with the reason; they may stand anywhere. */
const KEPT_TERMS: Readonly<Record<string, string>> = {
  "\\b(?:start|stop|validation)Wished\\b": "events of the stored history",
  "\\bwished_(?:by|on|for|key|session)\\b": "columns of the released schema",
  "\\bcontainers_wished_\\w+": "indexes of the released schema",
  "\\basked_(?:on|for)\\b": "columns of the released schema",
  "/console/rooms\\b|\\brooms(?=\\??:)|\\.rooms\\b": "a route of the console and its field",
  "\\bstanding(?=[:,.?}])|\\.standing\\b|\\{ standing\\b": "a field of the feed, which gateways of other versions read",
  "\\bdoubted(?=[:,?])|\\.doubted\\b": "a field of the feed",
};

const KEPT = new RegExp(Object.keys(KEPT_TERMS).join("|"), "g");
const SEARCHED_WORDS = new Set(WORDS);
const PHRASE = new RegExp(`\\b(?:${PHRASES.join("|").replaceAll(" ", "\\s+")})\\b`, "gi");
const DECLARED = new RegExp(`\\b(?:const|let|type|interface|class|function|enum)\\s+(${NAMES.join("|")})\\b`, "gi");
const TYPE = /^export (?:declare )?(?:abstract )?(?:type|interface|class|enum) ([A-Za-z0-9_]+)/gm;

/** Every occurrence, in lower case. */
export function findWords({ path, text: whole }: SourceFile, exceptions = EXCEPTIONS): string[] {
  const text = whole.replaceAll(KEPT, "");
  const tokens = text.match(/[A-Z]?[a-z]+|[A-Z]+(?![a-z])/g) ?? [];
  const words = tokens.map((token) => token.toLowerCase()).filter((word) => SEARCHED_WORDS.has(word));
  const phrases = [...text.matchAll(PHRASE)].map(([phrase]) => phrase.toLowerCase().replaceAll(/\s+/g, " "));
  const names = [...text.matchAll(DECLARED)].map(([, name = ""]) => name.toLowerCase());
  const allowed = exceptions.filter((exception) => (exception.path.endsWith("/") ? path.startsWith(exception.path) : path === exception.path));
  return [...words, ...phrases, ...names].filter((word) => !allowed.some((exception) => exception.words === "all" || exception.words.includes(word)));
}

/** Occurrences by top-level folder; files of the root are under ".". */
export function countByFolder(files: readonly SourceFile[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const file of files) {
    const [folder = "."] = file.path.includes("/") ? file.path.split("/") : [];
    counts[folder] = (counts[folder] ?? 0) + findWords(file).length;
  }
  return counts;
}

/** Exported types, interfaces, classes and enums that more than one declaration has, with the files. */
export function duplicateTypes(files: readonly SourceFile[]): Map<string, string[]> {
  const declared = new Map<string, string[]>();
  for (const { path, text } of files) {
    if (!/\.tsx?$/.test(path)) continue;
    for (const [, name = ""] of text.matchAll(TYPE)) declared.set(name, [...(declared.get(name) ?? []), path]);
  }
  return new Map([...declared].filter(([, paths]) => paths.length > 1));
}

export type Allowed = { words: Record<string, number>; duplicateTypes: Record<string, number> };

/** One line for everything that is more than allowed. */
export function wordProblems(files: readonly SourceFile[], allowed: Allowed): string[] {
  const words = Object.entries(countByFolder(files)).flatMap(([folder, count]) => {
    const most = allowed.words[folder] ?? 0;
    return count > most ? [`${folder}: ${count} words of the list, ${most} are allowed. See docs/contributing/glossary.md.`] : [];
  });
  const types = [...duplicateTypes(files)].flatMap(([name, paths]) =>
    paths.length > (allowed.duplicateTypes[name] ?? 1) ? [`type ${name} is exported by ${paths.join(", ")}. Give each a name of its own.`] : [],
  );
  return [...words, ...types];
}

/** The allowance never grows: the smaller of what is allowed and what is there. */
export function lowered(files: readonly SourceFile[], allowed: Allowed): Allowed {
  const sorted = (entries: [string, number][]) => Object.fromEntries(entries.toSorted(([one], [other]) => (one < other ? -1 : 1)));
  const counts = Object.entries(countByFolder(files)).map(([folder, count]): [string, number] => [
    folder,
    Math.min(count, allowed.words[folder] ?? 0),
  ]);
  const types = [...duplicateTypes(files)].map(([name, { length }]): [string, number] => [name, Math.min(length, allowed.duplicateTypes[name] ?? 1)]);
  return { words: sorted(counts.filter(([, count]) => count > 0)), duplicateTypes: sorted(types.filter(([, count]) => count > 1)) };
}

/** Hidden folders, and what was installed or built. */
const OUTSIDE = /^(\.|node_modules$|dist$)/;
const SOURCE = /\.(ts|tsx|js|mjs|md|lua|sh|css|html)$/;

/** All source files and pages below a folder, by path. */
export function loadSourceFiles(root: string, folder = ""): SourceFile[] {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .toSorted((one, other) => (one.name < other.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (OUTSIDE.test(entry.name)) return [];
      if (entry.isDirectory()) return loadSourceFiles(root, path);
      return entry.isFile() && SOURCE.test(entry.name) ? [{ path, text: readFileSync(join(root, path), "utf8") }] : [];
    });
}

function runCheck(argument: string | undefined): void {
  const files = loadSourceFiles(join(import.meta.dirname, "../.."));
  const file = join(import.meta.dirname, "words.json");
  const allowed = JSON.parse(readFileSync(file, "utf8")) as Allowed;
  if (argument === "--lower") writeFileSync(file, `${JSON.stringify(lowered(files, allowed), undefined, 2)}\n`);
  else if (argument === undefined) report(files, allowed);
  else list(files, argument);
}

function list(files: readonly SourceFile[], prefix: string): void {
  for (const { path, text } of files.filter((file) => file.path.startsWith(prefix))) {
    for (const [index, line] of text.split("\n").entries()) {
      const words = findWords({ path, text: line });
      if (words.length > 0) console.log(`${path}:${index + 1}: ${words.join(", ")}: ${line.trim().slice(0, 160)}`);
    }
  }
}

function report(files: readonly SourceFile[], allowed: Allowed): void {
  const words = Object.values(countByFolder(files)).reduce((sum, count) => sum + count, 0);
  const lines = files.reduce((sum, { text }) => sum + text.split("\n").length - 1, 0);
  console.log(
    `words of the list: ${words} (${((words * 1000) / lines).toFixed(2)} per 1,000 lines); type names not unique: ${duplicateTypes(files).size}`,
  );
  const problems = wordProblems(files, allowed);
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
}

if (import.meta.main) runCheck(process.argv[2]);

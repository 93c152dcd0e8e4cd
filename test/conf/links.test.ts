import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import t from "tap";
import { rowsOf } from "../../conf/row.ts";
import { SETTINGS } from "../../conf/settings.ts";

const ROOT = resolve(import.meta.dirname, "../..");
/** What is no source: hidden folders, what was installed or built. */
const OUTSIDE = /^(\.|node_modules$|dist$)/;

/** No rows of that table: where `berth.yaml` is, and what Compose reads itself. */
const OTHERS_VARIABLES = ["BERTH_CONFIG", "BERTH_IMAGE"];

/** Files that an example would create. */
const EXAMPLE_FILES = ["test/drivers/nomad/driver.test.ts"];

const pages = pagesBelow(ROOT);

t.test("every link between pages leads to a file, and to a heading in it", async (t) => {
  const broken = pages.flatMap((page) => linksOf(page).flatMap((link) => (leads(page, link) ? [] : [`${relative(ROOT, page)}: ${link}`])));
  t.same(broken, []);
  t.ok(pages.length > 30, "pages were found at all");
});

t.test("every page of the console's administration has a row in the page about the console", async (t) => {
  const text = readFileSync(join(ROOT, "docs/console.md"), "utf8");
  // Only its text: what it imports is for browsers.
  const list = readFileSync(join(ROOT, "control/console/web/administration/pages.ts"), "utf8");
  const titles = [...list.matchAll(/ title: "([^"]+)"/g)].map(([, title]) => title);
  t.ok(titles.length > 10, "the pages were found");
  const missing = titles.filter((title) => !new RegExp(`^\\| \\*\\*${title}\\*\\* `, "m").test(text));
  t.same(missing, []);
});

t.test("every BERTH_ variable that a page names is a setting", async (t) => {
  const variables = new Set([...rowsOf(SETTINGS).flatMap(([, row]) => row.env), ...OTHERS_VARIABLES]);
  const unknown = pages.flatMap((page) =>
    [...textOf(page).matchAll(/\bBERTH_[A-Z][A-Z_]*[A-Z]\b(?![_…*<])/g)]
      .map(([name]) => name)
      .filter((name) => !variables.has(name) && !variables.has(name.replace(/_FILE$/, "")))
      .map((name) => `${relative(ROOT, page)}: ${name}`),
  );
  t.same(unknown, []);
});

t.test("every source file that a page names exists", async (t) => {
  const missing = pages
    .filter((page) => relative(ROOT, page) !== "CHANGELOG.md")
    .flatMap((page) =>
      [...textOf(page).matchAll(/`([a-z][A-Za-z0-9_./-]*\/[A-Za-z0-9_.-]+\.(?:ts|tsx|mjs|lua|sh))`/g)]
        .map(([, path = ""]) => path)
        .filter((path) => !existsSync(join(ROOT, path)) && !EXAMPLE_FILES.includes(path))
        .map((path) => `${relative(ROOT, page)}: ${path}`),
    );
  t.same(missing, []);
});

t.test("every package that berth depends on is explained", async (t) => {
  const { dependencies, optionalDependencies, devDependencies } = JSON.parse(textOf(join(ROOT, "package.json"))) as Record<
    string,
    Record<string, string>
  >;
  const explained = [...textOf(join(ROOT, "docs/contributing/dependencies.md")).matchAll(/^\| ([^|]+) \|/gm)]
    .map(([, names = ""]) => names)
    .join(", ");
  const missing = Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies }).filter(
    (name) => !name.startsWith("@types/") && !explained.includes(name),
  );
  t.same(missing, []);
});

function pagesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (OUTSIDE.test(entry.name)) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return pagesBelow(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}

function textOf(page: string): string {
  return readFileSync(page, "utf8");
}

/** Without fenced blocks, in which brackets are code and # begins a comment. */
function prose(page: string): string {
  return textOf(page).replaceAll(/^ *```[^]*?^ *```/gm, "");
}

function linksOf(page: string): string[] {
  const targets = [
    ...prose(page)
      .replaceAll(/`[^`\n]*`/g, "code")
      .matchAll(/\]\(([^)\s]+)\)/g),
  ].map(([, target = ""]) => target);
  return targets.filter((target) => !/^[a-z]+:/.test(target));
}

function leads(page: string, link: string): boolean {
  const [path = "", heading] = link.split("#");
  const to = path === "" ? page : join(dirname(page), path);
  if (!existsSync(to)) return false;
  return heading === undefined || (statSync(to).isFile() && anchorsOf(to).has(heading));
}

/** As GitHub makes them: lower case, without punctuation, hyphens for spaces; a second one of the same name is numbered. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, title = ""] of prose(page).matchAll(/^#{1,6} +(.+)$/gm)) {
    const plain = title.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const anchor = plain.replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
    let name = anchor;
    for (let again = 1; anchors.has(name); again++) name = `${anchor}-${again}`;
    anchors.add(name);
  }
  return anchors;
}

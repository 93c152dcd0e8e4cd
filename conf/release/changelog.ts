/** The part of CHANGELOG.md about a version, which becomes its release notes. */

/** A candidate (`1.2.0-rc.1`) has the section of what it is a candidate for. Undefined: there is none. */
export function findSection(changelog: string, version: string): { text: string; isDated: boolean } | undefined {
  const [base = ""] = version.split("-");
  const sections = changelog.split(/^(?=## )/m).slice(1);
  for (const section of sections) {
    const [heading = "", ...lines] = section.split("\n");
    const named = /^## \[(?:Unreleased\]: (\S+)|([^\]]+)\])/.exec(heading);
    const of = named?.[2] ?? named?.[1];
    if (of === version || of === base) return { text: lines.join("\n").trim(), isDated: /\d{4}-\d{2}-\d{2}/.test(heading) };
  }
  return undefined;
}

import t from "tap";
import { findSection } from "../../../conf/release/changelog.ts";

const CHANGELOG = "# Changes\n\nAbout.\n\n## [Unreleased]: 1.3.0\n\nNext.\n\n### Fixed\n\n- It.\n\n## [1.2.0] - 2026-11-30\n\nLast.\n";

t.test("a version's section, without its heading, is its release notes", async (t) => {
  t.same(findSection(CHANGELOG, "1.3.0"), { text: "Next.\n\n### Fixed\n\n- It.", isDated: false });
  t.same(findSection(CHANGELOG, "1.2.0"), { text: "Last.", isDated: true });
  t.same(findSection(CHANGELOG, "1.3.0-rc.1")?.text, "Next.\n\n### Fixed\n\n- It.", "a candidate has that of its version");
  t.equal(findSection(CHANGELOG, "1.4.0"), undefined);
});

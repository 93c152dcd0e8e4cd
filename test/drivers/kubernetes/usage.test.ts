import t from "tap";
import { parseAllDocuments, stringify } from "yaml";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { call, specOf } from "../conformance.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openWorld, RBAC } from "./test-cluster.ts";

t.test("without a metrics server, or the right to ask it, a container's use is unknown", async (t) => {
  const rbac = join(tempFolder(t), "rbac.yaml");
  const documents = parseAllDocuments(readFileSync(RBAC, "utf8")).map((document) => document.toJS() as { rules?: { apiGroups: string[] }[] });
  for (const document of documents) if (document.rules) document.rules = document.rules.filter(({ apiGroups }) => apiGroups[0] !== "metrics.k8s.io");
  writeFileSync(rbac, documents.map((document) => stringify(document)).join("---\n"));
  for (const more of [{ metrics: false }, { rbac }]) {
    const { open, image } = await openWorld(t, more);
    const driver = open();
    await driver.deploy(await specOf(driver, "worker", await image("worker"), { graceMs: 1 }), call());
    t.equal(await driver.usage?.("worker", call()), undefined);
    await driver.destroy("worker", call());
  }
});

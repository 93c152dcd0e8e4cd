import t from "tap";
import type { Driver } from "../../../../drivers/driver.ts";
import { requireReplicas } from "../../../../control/packages/publish/require-replicas.ts";
import type { Definition } from "../../../../control/packages/publish/definitions.ts";

const definition = (folder: string, max: number | undefined) =>
  ({ folder, container: { config: max === undefined ? {} : { replicas: { max } } } }) as unknown as Definition;

t.test("replicas need a driver that has them, and no more than a package's network has addresses", async (t) => {
  const rows: [what: string, max: (number | undefined)[], available: Driver["replicas"], refused: RegExp | undefined][] = [
    ["none", [undefined], undefined, undefined],
    ["a driver without", [undefined, 2], undefined, /^dockerfiles\/f1\/container\.json: replicas is not available/],
    ["a driver without a limit", [50, 50], {}, undefined],
    ["at the limit, which others do not count for", [4, 3, undefined, undefined], { mostInPackage: 7 }, undefined],
    ["beyond it", [4, 4], { mostInPackage: 7 }, /up to 8 replicas together, .* addresses for 7 on this server\. Lower max\.$/],
  ];
  for (const [what, max, available, refused] of rows) {
    const definitions = max.map((one, index) => definition(`f${index}`, one));
    if (refused) t.throws(() => requireReplicas(definitions, available), { code: "PACKAGE_INVALID", message: refused }, what);
    else t.doesNotThrow(() => requireReplicas(definitions, available), what);
  }
});

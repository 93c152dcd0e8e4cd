/**
 * Reads npm's bill of materials on standard input, and writes it without the tools of development and the one that builds the console: npm's own
 * `--omit dev` leaves out what both need.
 */
import { text } from "node:stream/consumers";

/** Of the `optionalDependencies`, those that only build. The others are in the console, and run in browsers. */
const BUILDERS = ["vite"];

export type BillComponent = {
  "bom-ref": string;
  name: string;
  version: string;
  purl?: string;
  licenses?: { license?: { id?: string; name?: string }; expression?: string }[];
  properties?: { name: string; value: string }[];
};

/** CycloneDX as npm writes it. */
export type Bill = {
  serialNumber: string;
  metadata: { timestamp: string; component: BillComponent };
  components: BillComponent[];
  dependencies: { ref: string; dependsOn: string[] }[];
};

export function omitTools(bill: Bill): Bill {
  const isTool = ({ properties = [] }: BillComponent) =>
    properties.some(({ name, value }) => name === "cdx:npm:package:development" && value === "true");
  const builders = bill.components.filter(({ name }) => BUILDERS.includes(name));
  const tools = new Set([...bill.components.filter(isTool), ...builders].map((component) => component["bom-ref"]));
  const edges = new Map(bill.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
  const reached = new Set<string>();
  const reach = (ref: string) => {
    if (reached.has(ref) || tools.has(ref)) return;
    reached.add(ref);
    for (const one of edges.get(ref) ?? []) reach(one);
  };
  reach(bill.metadata.component["bom-ref"]);
  const stays = (ref: string) => reached.has(ref);
  const dependencies = bill.dependencies.filter(({ ref }) => stays(ref)).map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter(stays) }));
  const components = bill.components.filter((component) => stays(component["bom-ref"]));
  return { ...bill, components, dependencies };
}

if (import.meta.main) console.log(JSON.stringify(omitTools(JSON.parse(await text(process.stdin)) as Bill), undefined, 2));

/**
 * Reads npm's bill of materials on standard input, and writes it without the tools of development and those that build the console (`optionalDependencies`):
 * npm's own `--omit dev` leaves out what both need.
 */
import { text } from "node:stream/consumers";
import about from "../package.json" with { type: "json" };

type Component = { "bom-ref": string; name: string; properties?: { name: string; value: string }[] };
type Bill = { metadata: { component: Component }; components: Component[]; dependencies: { ref: string; dependsOn: string[] }[] };

const bill = JSON.parse(await text(process.stdin)) as Bill;
const isTool = ({ properties = [] }: Component) => properties.some(({ name, value }) => name === "cdx:npm:package:development" && value === "true");
const builders = bill.components.filter(({ name }) => Object.hasOwn(about.optionalDependencies, name));
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
console.log(JSON.stringify({ ...bill, components, dependencies }, undefined, 2));

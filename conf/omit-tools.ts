/** Reads npm's bill of materials on standard input, and writes it without the tools of development: npm's own `--omit dev` leaves out what both need. */
import { text } from "node:stream/consumers";

type Component = { "bom-ref": string; properties?: { name: string; value: string }[] };
type Bill = { components: Component[]; dependencies: { ref: string; dependsOn: string[] }[] };

const bill = JSON.parse(await text(process.stdin)) as Bill;
const isTool = ({ properties = [] }: Component) => properties.some(({ name, value }) => name === "cdx:npm:package:development" && value === "true");
const tools = new Set(bill.components.filter(isTool).map((component) => component["bom-ref"]));
const stays = (ref: string) => !tools.has(ref);
const dependencies = bill.dependencies.filter(({ ref }) => stays(ref)).map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter(stays) }));
const components = bill.components.filter((component) => stays(component["bom-ref"]));
console.log(JSON.stringify({ ...bill, components, dependencies }, undefined, 2));

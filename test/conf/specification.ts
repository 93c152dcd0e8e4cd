import { loadAwsServiceSpecSync } from "@aws-cdk/aws-service-spec";
import type { StackTemplate } from "./stack.ts";

type Property = { type: Shape; required?: boolean };
type Shape = { type: string; element?: Shape; reference?: { $ref: string } };
type Properties = Record<string, Property>;

/** What is in it comes from elsewhere, or may be any of several things. */
const TAKEN_AS_IT_IS = new Set(["json", "tag", "map", "union"]);

/** What a template has that CloudFormation's own specification of resources has not, or not so, or wants as well. */
export function unspecified({ Resources }: StackTemplate): string[] {
  const spec = loadAwsServiceSpecSync();
  const all = (given: object, known: Properties, at: string): string[] => [
    ...Object.entries(known).flatMap(([key, { required }]) => (required === true && !(key in given) ? [`${at}.${key} is missing`] : [])),
    ...Object.entries(given).flatMap(([key, value]) => (known[key] ? one(value, known[key].type, `${at}.${key}`) : [`${at}.${key} is unknown`])),
  ];
  const one = (value: unknown, shape: Shape, at: string): string[] => {
    if (isCall(value) || TAKEN_AS_IT_IS.has(shape.type)) return [];
    const is = Array.isArray(value)
      ? ["array"]
      : Number.isInteger(value)
        ? ["integer", "number"]
        : typeof value === "object"
          ? ["ref"]
          : [typeof value];
    if (!is.includes(shape.type)) return [`${at} is no ${shape.type}`];
    if (shape.element) return (value as unknown[]).flatMap((item, index) => one(item, shape.element ?? { type: "json" }, `${at}[${index}]`));
    if (shape.reference) return all(value as object, spec.get("typeDefinition", shape.reference.$ref).properties, at);
    return [];
  };
  return Object.entries(Resources).flatMap(([id, { Type, Properties: given = {} }]) => {
    const [resource] = spec.lookup("resource", "cloudFormationType", "equals", Type);
    return resource ? all(given, resource.properties, id) : [`${id}: ${Type} is unknown`];
  });
}

/** `Ref` and `Fn::…`: what comes of it is known when the stack is made. */
const isCall = (value: unknown) =>
  typeof value === "object" && value !== null && Object.keys(value).some((key) => key === "Ref" || key.startsWith("Fn::"));

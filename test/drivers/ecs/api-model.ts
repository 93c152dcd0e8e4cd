import { readFileSync } from "node:fs";

/** Amazon's own description of its APIs, from which its clients are generated, as Debian's python3-botocore has it. */
const MODELS = "/usr/lib/python3/dist-packages/botocore/data";
const FILES = { ecs: "ecs/2014-11-13", logs: "logs/2014-03-28", ecr: "ecr/2015-09-21" } as const;

type Shape = {
  type: string;
  members?: Record<string, { shape: string }>;
  member?: { shape: string };
  key?: { shape: string };
  value?: { shape: string };
  required?: string[];
  enum?: string[];
  min?: number;
  max?: number;
};
type Model = { shapes: Record<string, Shape>; operations: Record<string, { input?: { shape: string }; output?: { shape: string } }> };

/** Of the API of 2026, what Debian's copy is too old for: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentCircuitBreaker.html */
const YOUNGER: Record<string, Shape["members"]> = {
  DeploymentCircuitBreaker: { thresholdConfiguration: { shape: "ThresholdConfiguration" }, resetOnHealthyTask: { shape: "Boolean" } },
};
const YOUNGER_SHAPES: Record<string, Shape> = {
  ThresholdConfiguration: {
    type: "structure",
    required: ["type", "value"],
    members: { type: { shape: "ThresholdType" }, value: { shape: "Integer" } },
  },
  ThresholdType: { type: "string", enum: ["BOUNDED_PERCENT", "COUNT", "UNBOUNDED_PERCENT"] },
};

export type ApiName = keyof typeof FILES;

/** What is wrong with the input or output of an action, by its model; empty where nothing is. */
export function openApiModel(api: ApiName) {
  const model = JSON.parse(readFileSync(`${MODELS}/${FILES[api]}/service-2.json`, "utf8")) as Model;
  for (const [name, shape] of Object.entries(YOUNGER_SHAPES)) model.shapes[name] ??= shape;
  for (const [name, members] of Object.entries(YOUNGER)) Object.assign(model.shapes[name]?.members ?? {}, members);
  return (action: string, side: "input" | "output", value: unknown): string[] => {
    const operation = model.operations[action];
    if (!operation) return [`${action} is no action of ${api}`];
    const shape = operation[side]?.shape;
    return shape === undefined ? [] : wrong(model, shape, value, "");
  };
}

function wrong(model: Model, name: string, value: unknown, at: string): string[] {
  const shape = model.shapes[name] as Shape;
  const is = (ok: boolean, what: string) => (ok ? [] : [`${at || "input"} must be ${what}`]);
  switch (shape.type) {
    case "structure": {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return is(false, "a structure");
      const unknown = Object.keys(value).filter((key) => !shape.members?.[key]);
      const missing = (shape.required ?? []).filter((key) => !(key in value));
      return [
        ...unknown.map((key) => `unknown parameter ${at}.${key}`),
        ...missing.map((key) => `missing parameter ${at}.${key}`),
        ...Object.entries(value).flatMap(([key, one]) => (shape.members?.[key] ? wrong(model, shape.members[key].shape, one, `${at}.${key}`) : [])),
      ];
    }
    case "list":
      if (!Array.isArray(value)) return is(false, "a list");
      return [
        ...is(shape.max === undefined || value.length <= shape.max, `at most ${shape.max} long`),
        ...value.flatMap((one, index) => wrong(model, shape.member?.shape ?? "", one, `${at}[${index}]`)),
      ];
    case "map":
      if (typeof value !== "object" || value === null) return is(false, "a map");
      return Object.entries(value).flatMap(([key, one]) => wrong(model, shape.value?.shape ?? "", one, `${at}.${key}`));
    case "string":
      if (typeof value !== "string") return is(false, "a string");
      return [
        ...is(shape.enum === undefined || shape.enum.includes(value), `one of ${shape.enum?.join(", ")}`),
        ...is(shape.min === undefined || value.length >= shape.min, `at least ${shape.min} characters`),
        ...is(shape.max === undefined || value.length <= shape.max, `at most ${shape.max} characters`),
      ];
    case "integer":
    case "long":
      if (typeof value !== "number" || !Number.isInteger(value)) return is(false, "a whole number");
      return is((shape.min ?? value) <= value && value <= (shape.max ?? value), `from ${shape.min} to ${shape.max}`);
    case "boolean":
      return is(typeof value === "boolean", "a boolean");
    default:
      return is(typeof value === "number", "a number");
  }
}

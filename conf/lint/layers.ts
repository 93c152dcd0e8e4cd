import { join, relative } from "node:path/posix";

/**
 * A rule for oxlint: which folder may import which, types included. A file belongs to the first row that matches its path; it may import its own
 * row's folder, and what the row lists.
 */

type Layer = { folder: string; imports: readonly string[] };

const CONTRACTS = ["lib/", "drivers/driver.ts", "gateway/contract.ts"] as const;

const LAYERS: readonly Layer[] = [
  { folder: "lib/", imports: [] },
  { folder: "gateway/", imports: ["lib/"] },
  { folder: "drivers/", imports: ["lib/"] },
  { folder: "control/model/", imports: CONTRACTS },
  { folder: "control/store/", imports: [...CONTRACTS, "control/model/"] },
  { folder: "control/leadership/", imports: [...CONTRACTS, "control/store/"] },
  { folder: "control/lifecycle/", imports: [...CONTRACTS, "control/model/", "control/store/"] },
  { folder: "control/packages/", imports: [...CONTRACTS, "control/model/", "control/store/", "control/lifecycle/", "control/identity/"] },
  { folder: "control/identity/", imports: [...CONTRACTS, "control/model/", "control/store/", "control/lifecycle/", "control/packages/"] },
  { folder: "control/webhooks/", imports: [...CONTRACTS, "control/model/", "control/store/", "control/packages/"] },
  {
    folder: "control/api/",
    imports: [
      ...CONTRACTS,
      "control/model/",
      "control/store/",
      "control/leadership/",
      "control/lifecycle/",
      "control/packages/",
      "control/webhooks/",
      "control/identity/",
    ],
  },
  {
    folder: "control/console/",
    imports: [...CONTRACTS, "control/model/", "control/store/", "control/lifecycle/", "control/packages/", "control/identity/", "control/api/"],
  },
  { folder: "processes/", imports: ["lib/", "gateway/", "drivers/", "control/", "conf/"] },
  { folder: "cli/", imports: ["lib/", "gateway/", "drivers/", "control/", "conf/", "processes/", "package.json"] },
];

type ImportRuleContext = { filename: string; cwd: string; report(problem: { node: unknown; message: string }): void };
type ImportNode = { source?: { value: unknown } | null };

/** Paths begin at the root of the source tree. Undefined: allowed. */
export function layerProblem(file: string, imported: string): string | undefined {
  const layer = LAYERS.find(({ folder }) => file.startsWith(folder));
  if (!layer || [layer.folder, ...layer.imports].some((allowed) => imported.startsWith(allowed))) return undefined;
  const list = layer.imports.length === 0 ? "nothing outside itself" : layer.imports.join(", ");
  return `${layer.folder} must not import ${imported}. It may import ${list}.`;
}

export const layers = {
  create: (context: ImportRuleContext) => {
    const file = relative(context.cwd, context.filename);
    const check = (node: ImportNode) => {
      const specifier = node.source?.value;
      if (typeof specifier !== "string" || !specifier.startsWith(".")) return;
      const message = layerProblem(file, join(file, "..", specifier));
      if (message !== undefined) context.report({ node, message });
    };
    return { ImportDeclaration: check, ExportNamedDeclaration: check, ExportAllDeclaration: check, ImportExpression: check };
  },
};

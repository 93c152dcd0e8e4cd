import validatorSelector, { type BuildCompilerFromPool } from "@fastify/ajv-compiler";
import serializerSelector, { type Serializer, type SerializerFactory } from "@fastify/fast-json-stringify-compiler";

type Validate = ReturnType<ReturnType<BuildCompilerFromPool>>;

/**
 * Fastify's own compilers of schemas, each called at the first request that needs it. To compile the schemas of all routes at once takes a fifth of a second
 * of processor time, in which a new leader could answer no gateway.
 */
export function lazyCompilers(): { buildValidator: BuildCompilerFromPool; buildSerializer: SerializerFactory } {
  const [buildValidator, buildSerializer] = [validatorSelector(), serializerSelector()];
  return {
    buildValidator: (...given) => {
      const compile = buildValidator(...given);
      return (...route) => {
        let compiled: Validate | undefined;
        const validate = (data: unknown) => {
          compiled ??= compile(...route);
          const result = compiled(data);
          // Fastify reads them from the function that it called.
          lazy.errors = compiled.errors ?? null;
          return result;
        };
        const lazy = validate as Validate;
        return lazy;
      };
    },
    buildSerializer: (...given) => {
      const compile = buildSerializer(...given);
      return (route) => {
        let serialize: Serializer | undefined;
        return (data) => (serialize ??= compile(route))(data);
      };
    },
  };
}

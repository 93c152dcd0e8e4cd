// `ws` exports its Sender; its published types leave it out.
export {};

declare module "ws" {
  export const Sender: {
    /** The pieces of one frame (RFC 6455 §5.2), head first. */
    frame(payload: Buffer, options: { fin: boolean; rsv1: boolean; opcode: number; mask: boolean; readOnly: boolean }): Buffer[];
  };
}

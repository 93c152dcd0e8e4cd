/** What `ws` takes to make a frame (RFC 6455 §5.2). */
export type FrameOptions = { fin: boolean; rsv1: boolean; opcode: number; mask: boolean; readOnly: boolean };

// `ws` exports its Sender; its published types leave it out.
declare module "ws" {
  export const Sender: {
    /** The pieces of one frame, head first. */
    frame(payload: Buffer, options: FrameOptions): Buffer[];
  };
}

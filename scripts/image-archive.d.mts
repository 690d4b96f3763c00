/** Types of image-archive.mjs. */

/** Order, owner and time that make the same archive of the same files, as arguments of tar. */
export declare const sameOrder: string[]
/** Writes a folder as an image of one layer, as `docker load` and `ctr images import` take it. */
export declare function writeArchive(
  file: string,
  image: {
    name: string
    root: string
    config: { Env?: string[]; WorkingDir?: string; Entrypoint?: string[] }
  },
): Promise<void>

/** Types of docker-image.mjs. */

export declare const baseImage: string
/** Makes the base image if this machine's Docker has it not; resolves with its name. */
export declare function ensureBaseImage(): Promise<string>

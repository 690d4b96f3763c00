/** Types of docker-image.mjs. */

export declare const baseImage: string
/** Makes the base image if this machine's Docker has it not; resolves with its name. */
export declare function ensureBaseImage(): Promise<string>
/** Lays out the files of the base image in a folder. */
export declare function layOutBase(root: string): Promise<void>
/** Lays out a program or library of this machine with the libraries it needs; `target` is where it goes. */
export declare function layOutProgram(root: string, program: string, target?: string): void
export declare const baseSettings: { Env: string[]; WorkingDir: string; Entrypoint: string[] }

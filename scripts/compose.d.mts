/** Types of compose.mjs. */

export declare const versions: { compose: string; ui: string }
/** The command that is Compose, such as `['docker', 'compose']`, or undefined. */
export declare function composeCommand(): string[] | undefined
/** Folder with Temporal's web interface as its image has it: the program `ui-server` and `config`; or undefined. */
export declare function temporalUi(): string | undefined
/** Both, built where they are missing; resolves with words for the operator. */
export declare function provide(limitMs?: number): Promise<string>

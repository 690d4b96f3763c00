/** The server as its HTTP side sees it: the models it serves and how it answers. Starts and stops nothing. */

import type { Incoming } from '../incoming.ts'
import type { Reply } from '../reply.ts'
import type { ModelRouter } from '../router.ts'
import type { RouteTable } from '../routes.ts'

export type ServerState = 'new' | 'started' | 'draining' | 'stopped'

export interface ServedModels {
  /** What its metadata and its document show. */
  readonly options: {
    readonly name?: string
    readonly version?: string
    readonly repositoryApi?: boolean
    readonly dictOps?: boolean
  }
  readonly routes: RouteTable
  /** None where one model is mounted at `/`. */
  readonly router: ModelRouter | undefined
  readonly state: ServerState
  readonly maxBodyBytes: number
  /** Asked first where it has routes of its own. */
  readonly app: { readonly routes: readonly unknown[] }
  /** Answers what a transport has read. Never rejects. */
  handle(incoming: Incoming): Promise<Reply | Response>
  /** Answers a Fetch request, those of the application's own routes too. */
  fetch(request: Request): Promise<Response>
}

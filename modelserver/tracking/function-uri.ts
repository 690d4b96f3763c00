/** Reads function URIs, `project/function[@hash][:tag]`, and derives a model endpoint's uid from one. */

import { createHash } from 'node:crypto'
import { ValueError } from '../errors.ts'

export interface FunctionUri {
  project: string
  function: string
  tag?: string
  hash?: string
}

const projectForm = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
// The tag stands behind the first colon, the hash behind the `@` before that colon.
const uriForm = /^(?<project>[^/]*)\/(?<name>[^:@]+)(?:@(?<hash>[^:]*))?(?::(?<tag>.*))?$/

/** Throws `ValueError` when there is no project or function, or the project's name has not the form of one. */
export function parseFunctionUri(uri: string): FunctionUri {
  const parts = uriForm.exec(uri)?.groups
  if (!parts?.name || !projectForm.test(parts.project ?? '')) throw new ValueError(`bad function uri ${uri}`)
  return {
    project: parts.project ?? '',
    function: parts.name,
    ...(parts.tag ? { tag: parts.tag } : {}),
    ...(parts.hash ? { hash: parts.hash } : {}),
  }
}

/** `name:version`, or `name:latest` for a model without version. */
export function modelString(name: string, version: string): string {
  return `${name}:${version || 'latest'}`
}

/**
 * The endpoint's uid: sha1 in hex of `{project}_{function}_{tag, hash or N/A}_{model}_{version or N/A}`. `model` is
 * split into model and version only if it has exactly one colon. Throws as `parseFunctionUri`.
 */
export function endpointUid(functionUri: string, model: string): string {
  const uri = parseFunctionUri(functionUri)
  const parts = model.split(':')
  const [name, version] = parts.length === 2 ? parts : [model]
  const text = [uri.project, uri.function, uri.tag ?? uri.hash ?? 'N/A', name, version || 'N/A'].join('_')
  return createHash('sha1').update(text).digest('hex')
}

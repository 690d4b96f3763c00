/** A request's path as a log line may have it: short, on one line, without names and tokens that are permissions. */
import { escaped } from '../../logging.ts'

const longest = 256
/** Whoever reads an upload address may upload, and whoever has a file's name may read it. */
const permission = /^\/+(u|files)\/+[^/]*/i
const placeholders: Readonly<Record<string, string>> = { u: '/u/:token', files: '/files/:name' }

export function loggedPath(path: string): string {
  const masked = path.replace(permission, (_, kind: string) => placeholders[kind.toLowerCase()] ?? '')
  const text = escaped(masked.slice(0, longest + 1))
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text
}

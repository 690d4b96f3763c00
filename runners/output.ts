/** What may be shown of a server's output: the tail of it, with secrets masked. */
import type { Job } from './job.ts'

/** The last bytes of a text, cut at a character's start. */
export function tailOf(output: Buffer, bytes: number): string {
  let start = Math.max(0, output.length - bytes)
  while (start < output.length && ((output[start] ?? 0) & 0xc0) === 0x80) start++
  return output.toString('utf8', start)
}

/** Replaces every secret of the job by `***`. One of under four characters would blank out half of any text. */
export function maskSecrets(text: string, job: Pick<Job, 'secrets'>): string {
  return Object.values(job.secrets ?? {})
    .filter((secret) => secret.length >= 4)
    .toSorted((a, b) => b.length - a.length)
    .reduce((masked, secret) => masked.replaceAll(secret, '***'), text)
}

/** Tokens that let a model upload for one prediction: signed, not stored, valid until a time. */
import { createHmac, timingSafeEqual } from 'node:crypto'

export interface UploadTokens {
  /** Safe in a URL path. */
  issue(predictionId: string, lifetimeMs: number): string
  /** The prediction it was issued for; undefined if it is forged, damaged or expired. */
  verify(token: string): { predictionId: string } | undefined
}

/** Sent with the copy of a file that a job has made, which may be of any length. */
export const copyHeader = 'perdure-copy'

const signatureBytes = 18

/** All processes of a deployment share the secret. `now` is the wall clock in milliseconds. */
export function makeUploadTokens(secret: string | Buffer, now: () => number = Date.now): UploadTokens {
  const sign = (text: string) =>
    createHmac('sha256', secret).update(`upload ${text}`).digest().subarray(0, signatureBytes)

  return {
    issue(predictionId, lifetimeMs) {
      const claims = Buffer.from(`${Math.floor((now() + lifetimeMs) / 1000)} ${predictionId}`)
      return `${claims.toString('base64url')}.${sign(claims.toString()).toString('base64url')}`
    },

    verify(token) {
      const [claims = '', signature = '', ...more] = token.split('.')
      const text = Buffer.from(claims, 'base64url').toString()
      // Compared as text: decoding would forgive stray characters.
      const given = Buffer.from(signature)
      const right = Buffer.from(sign(text).toString('base64url'))
      if (more.length > 0 || given.length !== right.length || !timingSafeEqual(given, right)) return undefined
      const [, expires, predictionId] = /^(\d+) (.+)$/s.exec(text) ?? []
      if (expires === undefined || predictionId === undefined || Number(expires) * 1000 <= now())
        return undefined
      return { predictionId }
    },
  }
}

/** Validations with their attempts and texts (requests, logs), and the blessings they led to. */
import type { SchemaWords } from '../sql/migrations/migration.ts'

export function validations({ identity }: SchemaWords): string[] {
  return [
    `create table validations (
      seq ${identity},
      id text not null unique,
      model_name text not null,
      status text not null,
      verdict text,
      error_class text,
      error_message text,
      blessing_id text,
      template text,
      spec text not null,
      plan text,
      progress text not null,
      created_at bigint not null,
      ended_at bigint
    )`,
    `create table validation_attempts (
      validation_id text not null,
      binary_index bigint not null,
      n bigint not null,
      body text not null,
      primary key (validation_id, binary_index, n)
    )`,
    `create table validation_texts (
      validation_id text not null,
      name text not null,
      body text not null,
      primary key (validation_id, name)
    )`,
    `create table blessings (
      seq ${identity},
      id text not null unique,
      validation_id text not null,
      verdict text not null,
      model_name text not null,
      model_digest text not null,
      body text not null,
      created_at bigint not null,
      expires_at bigint not null,
      revoked_at bigint,
      revoked_reason text
    )`,
    `create index blessings_of_digest on blessings (model_digest, seq)`,
    `create index blessings_of_name on blessings (model_name, seq)`,
  ]
}

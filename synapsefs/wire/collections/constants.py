"""Constants of the collections service protocol."""

ACCESS_TOKEN_HEADER = "Synapse-Access-Token"  # noqa: S105 - a header name  # nosec B105
TENANT_HEADER = "Synapse-Tenant"

PRESIGN_PROVIDERS = frozenset({"amazon_s3", "s3", "minio", "gcp", "gcs", "azure"})
"""Storage providers (lower case) that can presign uploads."""

CHECKSUM_BATCH = 1000
"""Most checksums in one ``verify_checksums`` request."""

UNIT_BATCH = 1000
"""Most units in one creation request."""

PRESIGN_BATCH = 200
"""Files per presign request that the service is used to; it accepts :data:`PRESIGN_BATCH_MAX`."""

PRESIGN_BATCH_MAX = 1000
"""Most files in one presign or confirm request."""

EXPIRATION_DEFAULT = 3600
EXPIRATION_RANGE = (60, 86400)
"""Bounds in seconds of the ``expiration`` of a presign request."""

PAGE_SIZE = 100
"""Page size of the first generation's lists when none is asked for."""

PER_PAGE = 50
"""Page size of the second generation's lists when none is asked for."""

NAME_MAX = 100
"""Most characters in the name of a collection."""

SPECIFICATION_PATTERN = r"[^/\\\x00]{1,50}"
"""What the name of a file specification must match as a whole."""

GROUP_NAME_MAX = 255
PATH_MAX = 1024
FILENAME_MAX = 255

META_KEY = "data_unit_key"
META_STEM = "origin_file_stem"
META_EXTENSION = "origin_file_extension"

UPLOADING, COMPLETE, EXPIRED = 1, 2, 3
"""Values of ``status`` of a chunked upload."""

CHECKSUM_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}
"""Algorithm of a hexadecimal checksum, by its length."""

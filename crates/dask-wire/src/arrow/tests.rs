use std::sync::Arc;

use arrow_array::builder::{
    BinaryViewBuilder, FixedSizeBinaryBuilder, Int32Builder, Int64Builder, ListBuilder, MapBuilder,
    StringBuilder, StringDictionaryBuilder, StringRunBuilder, UnionBuilder,
};
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, FixedSizeListArray, Int64Array, NullArray, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow_schema::Field;
use proptest::prelude::*;

use super::*;

fn one(name: &str, array: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter([(name, Arc::new(array) as ArrayRef)]).unwrap()
}

/// A batch of each layout that Arrow has.
fn layouts() -> Vec<RecordBatch> {
    let mut all = vec![
        one("int", Int64Array::from(vec![Some(1), None, Some(3)])),
        one("bool", BooleanArray::from(vec![Some(true), None, Some(false)])),
        one("text", StringArray::from(vec![Some("a"), None, Some("ccc")])),
        one("null", NullArray::new(3)),
        one("time", TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("Europe/Berlin")),
        one("decimal", Decimal128Array::from(vec![1, 2, 3])),
    ];
    let mut views = BinaryViewBuilder::new();
    for bytes in [&b"short"[..], &[7; 40], b""] {
        views.append_value(bytes);
    }
    all.push(one("view", views.finish()));
    let mut fixed = FixedSizeBinaryBuilder::new(3);
    for bytes in [b"abc", b"def"] {
        fixed.append_value(bytes).unwrap();
    }
    all.push(one("fixed", fixed.finish()));
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    for word in ["x", "y", "x"] {
        words.append_value(word);
    }
    all.push(one("dictionary", words.finish()));
    let mut runs = StringRunBuilder::<Int32Type>::new();
    for word in ["x", "x", "y"] {
        runs.append_value(word);
    }
    all.push(one("runs", runs.finish()));
    let mut lists = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    for len in [2, 0, 1] {
        for n in 0..len {
            lists.values().values().append_value(n);
            lists.values().append(true);
        }
        lists.append(len > 0);
    }
    all.push(one("lists", lists.finish()));
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k");
    map.values().append_value(5);
    map.append(true).unwrap();
    map.append(false).unwrap();
    all.push(one("map", map.finish()));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    all.push(one("pairs", FixedSizeListArray::new(field, 2, Arc::clone(&values), None)));
    let field = Arc::new(Field::new("n", values.data_type().clone(), true));
    all.push(one("struct", StructArray::from(vec![(field, values)])));
    all.push(one("empty struct", StructArray::new_empty_fields(3, None)));
    for dense in [true, false] {
        let mut union = if dense { UnionBuilder::new_dense() } else { UnionBuilder::new_sparse() };
        union.append::<Int32Type>("a", 1).unwrap();
        union.append::<Float64Type>("b", 0.5).unwrap();
        union.append::<Int32Type>("a", 3).unwrap();
        all.push(one("union", union.build().unwrap()));
    }
    all
}

fn streams() -> Vec<Vec<u8>> {
    layouts().iter().map(|batch| write(&batch.schema(), &[batch.clone(), batch.clone()]).unwrap()).collect()
}

#[test]
fn every_layout_goes_both_ways_wherever_it_lies() {
    for batch in layouts() {
        let stream = write(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        for shift in 0..8 {
            let mut bytes = vec![0; shift];
            bytes.extend_from_slice(&stream);
            let (schema, batches) = read(&Bytes::from(bytes).slice(shift..)).unwrap();
            assert_eq!((schema, batches), (batch.schema(), vec![batch.clone()]));
        }
    }
}

#[test]
fn one_damaged_byte_never_panics() {
    for stream in streams() {
        for at in 0..stream.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, stream[at].wrapping_add(1), stream[at] ^ 0x10] {
                let mut damaged = stream.clone();
                damaged[at] = byte;
                let _ = read(&damaged.into());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn damaged_streams_never_panic(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        thread_local! {
            static ALL: Vec<Vec<u8>> = streams();
        }
        let mut stream = ALL.with(|all| all[which.index(all.len())].clone());
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        if let Some(cut) = cut {
            stream.truncate(cut.index(stream.len()));
        }
        if let Ok((schema, batches)) = read(&stream.into()) {
            let table = ArrowTable { schema, batches };
            let _ = (table.rows(), write(&table.schema, &table.batches));
        }
    }
}

/// A stream of one batch in which a value of 64 bits is replaced wherever it stands.
fn replaced(batch: &RecordBatch, from: i64, to: i64) -> Bytes {
    let mut stream = write(&batch.schema(), std::slice::from_ref(batch)).unwrap();
    let (from, to) = (from.to_le_bytes(), to.to_le_bytes());
    let mut found = 0;
    for at in 0..stream.len() - 7 {
        if stream[at..at + 8] == from {
            stream[at..at + 8].copy_from_slice(&to);
            found += 1;
        }
    }
    assert!(found > 0);
    stream.into()
}

#[test]
fn buffers_and_rows_that_cannot_be_are_refused() {
    let rows = 12_345;
    let numbers = one("n", Int64Array::from_iter_values(0..rows));
    // The length of the column's only buffer, which is the last in the body.
    for length in [rows * 8 + 4096, i64::MAX, -1] {
        let error = read(&replaced(&numbers, rows * 8, length)).unwrap_err().to_string();
        assert!(error.contains("outside of its message's body"), "{error}");
    }
    let nulls = one("none", NullArray::new(12_345));
    assert!(read(&replaced(&nulls, 12_345, 20_000_000)).unwrap_err().to_string().contains("rows"));
    for count in [i64::MAX, -1] {
        let error = read(&replaced(&nulls, 12_345, count)).unwrap_err().to_string();
        assert!(error.contains("rows"), "{error}");
    }
    let (_, batches) = read(&replaced(&nulls, 12_345, 9_999_999)).unwrap();
    assert_eq!(batches[0].num_rows(), 9_999_999);
}

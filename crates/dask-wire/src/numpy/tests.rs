use bytes::Bytes;
use dask_pickle::Limits;
use proptest::prelude::*;

use super::*;

fn read(payload: &Payload) -> NdArray {
    crate::family::decode(payload, &Limits::default()).unwrap().to_array().unwrap()
}

#[test]
fn short_forms_are_read_and_written() {
    for text in
        ["|b1", "<i4", ">u2", "|i1", "<f2", "<f8", ">c16", "<M8[ns]", ">m8[25us]", "<M8", "|S3", "<U5", "|V7"]
    {
        assert_eq!(DType::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(DType::parse("?").unwrap(), DType::parse("|b1").unwrap());
    assert_eq!(DType::parse("f8").unwrap(), <f64 as Scalar>::dtype());
    assert_eq!(DType::parse("O").unwrap().kind(), &DTypeKind::Object);
    for text in [
        "",
        "<",
        "<f",
        "<f3",
        "<i16",
        "x8",
        "<M8[",
        "<M8[xs]",
        "<M4",
        "ü8",
        "f8junk",
        "<U99999999999999999999",
    ] {
        assert!(DType::parse(text).is_err(), "{text}");
    }
}

#[test]
fn views_that_leave_their_buffer_are_refused() {
    let make = |shape: &[usize], strides: &[isize], offset, len| {
        NdArray::new(
            <i32 as Scalar>::dtype(),
            shape.to_vec(),
            strides.to_vec(),
            offset,
            Bytes::from(vec![0u8; len]),
        )
    };
    assert!(make(&[3], &[4], 0, 12).is_ok());
    assert!(make(&[3], &[-4], 8, 12).is_ok());
    assert!(make(&[usize::MAX, 0], &[4, 4], 0, 0).is_ok());
    assert!(make(&[], &[], 0, 4).is_ok());
    for (shape, strides, offset, len) in [
        (&[3usize][..], &[4isize][..], 1, 12),
        (&[3], &[-4], 4, 12),
        (&[3], &[8], 0, 12),
        (&[], &[], 0, 3),
        (&[2, 2], &[4], 0, 16),
        (&[usize::MAX], &[1], 0, 16),
        (&[usize::MAX], &[0], 0, 16),
        (&[2], &[isize::MIN], 0, 16),
        (&[2, 2], &[isize::MAX, isize::MAX], 0, 16),
        (&[1], &[4], usize::MAX, 16),
    ] {
        assert!(make(shape, strides, offset, len).is_err(), "{shape:?} {strides:?} {offset}");
    }
    let empty = make(&[usize::MAX, 0], &[4, 4], 0, 0).unwrap();
    assert!(matches!(empty.within(1000).to_value(), Err(ArrayError::TooLarge { .. })));
    assert!(make(&[0, usize::MAX], &[4, 4], 0, 0).unwrap().within(1000).to_value().is_ok());
    let objects = DType::parse("O").unwrap();
    assert!(matches!(NdArray::from_bytes(objects, [1], vec![0u8; 8]), Err(ArrayError::DType(_))));
}

#[test]
fn any_strides_give_the_elements_in_c_order() {
    let bytes = Bytes::copy_from_slice(bytemuck::cast_slice(&[0i32, 1, 2, 3, 4, 5]));
    let make = |shape: &[usize], strides: &[isize], offset| {
        NdArray::new(<i32 as Scalar>::dtype(), shape.to_vec(), strides.to_vec(), offset, bytes.clone())
            .unwrap()
    };
    assert_eq!(make(&[2, 3], &[12, 4], 0).to_vec::<i32>().unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(make(&[3, 2], &[4, 12], 0).to_vec::<i32>().unwrap(), [0, 3, 1, 4, 2, 5]);
    assert_eq!(make(&[3], &[-8], 20).to_vec::<i32>().unwrap(), [5, 3, 1]);
    assert_eq!(make(&[2, 2], &[0, 4], 4).to_vec::<i32>().unwrap(), [1, 2, 1, 2]);
    let reversed = make(&[3], &[-8], 20);
    assert_eq!(read(&reversed.to_payload().unwrap()), reversed);
    assert_eq!(reversed.get(&[1]), Some(Element::Int(3)));
}

#[test]
fn aligned_data_is_borrowed_and_other_data_copied() {
    let array = NdArray::from_slice(&[1.5f64, 2.5], [2]).unwrap();
    // One buffer of this machine is aligned or not; both ways give the same.
    assert_eq!(array.as_slice::<f64>().unwrap(), &[1.5, 2.5][..]);
    let mut shifted = vec![0u8];
    shifted.extend_from_slice(array.data());
    let shifted = Bytes::from(shifted);
    for skip in [0, 1] {
        let data = shifted.slice(1..);
        let data = if skip == 0 { Bytes::copy_from_slice(&data) } else { data };
        let array = NdArray::from_bytes(<f64 as Scalar>::dtype(), [2], data).unwrap();
        assert_eq!(array.as_slice::<f64>().unwrap(), &[1.5, 2.5][..]);
    }
    assert!(matches!(array.to_vec::<f32>(), Err(ArrayError::Type { asked: "f32", .. })));
    // A byte that is neither false nor true still reads as true.
    let odd = NdArray::from_bytes(<bool as Scalar>::dtype(), [3], vec![0u8, 1, 2]).unwrap();
    assert_eq!(odd.as_slice::<bool>().unwrap(), &[false, true, true][..]);
}

#[test]
fn an_array_can_be_sent_and_pickled() {
    let array = NdArray::from_slice(&[1i64, 2, 3, 4], [2, 2]).unwrap();
    let payload = array.to_payload().unwrap();
    assert_eq!(payload.header("dtype").unwrap(), &Value::Array(vec![0.into(), "<i8".into()]));
    assert_eq!(payload.header("strides").unwrap(), &Value::Array(vec![16.into(), 8.into()]));
    assert_eq!(payload.header("writeable").unwrap(), &Value::Array(vec![true.into()]));
    assert_eq!(payload.header("sub-header").unwrap().get("shape"), payload.header("shape"));
    assert_eq!(payload.frames().len(), 1);
    assert_eq!(payload.frames()[0].as_ptr(), array.data().as_ptr());

    let pickle = dask_pickle::to_vec(&array).unwrap();
    let tree = dask_pickle::read(pickle, Vec::new(), &Limits::default()).unwrap();
    let object = tree.root().object().unwrap();
    assert_eq!(object.callable().as_global(), Some(("numpy", "ndarray")));
    assert_eq!(object.args().item(1).unwrap().as_str(), Some("<i8"));
    let buffer = dask_pickle::Value::from_view(object.args().item(2).unwrap()).unwrap();
    assert_eq!(buffer, dask_pickle::Value::ByteArray(array.data().clone()));
    assert!(NdArray::from_slice(&[1u8], [2]).is_err());
}

#[test]
fn records_are_described_by_offsets() {
    let field = |name: &str, code: &str, offset, shape| Field {
        name: name.to_owned(),
        dtype: DType::parse(code).unwrap(),
        offset,
        shape,
    };
    let dtype = DType::record(vec![field("a", "|i1", 0, vec![]), field("b", "<i2", 4, vec![2])], 8).unwrap();
    assert!(DType::record(vec![field("a", "<i4", 6, vec![])], 8).is_err());
    assert!(DType::record(vec![field("a", "<i4", 0, vec![usize::MAX])], 8).is_err());
    let array = NdArray::from_bytes(dtype, [1], vec![5u8, 0, 0, 0, 1, 0, 2, 0]).unwrap();
    let again = read(&array.to_payload().unwrap());
    assert_eq!(again, array);
    let Some(Element::Record(record)) = array.get(&[0]) else { panic!("no record") };
    assert_eq!(record.fields().last().unwrap(), ("b", vec![Element::Int(1), Element::Int(2)]));
}

proptest! {
    #[test]
    fn arbitrary_text_is_no_panic(text in "\\PC{0,12}") {
        let _ = DType::parse(&text);
    }

    #[test]
    fn views_agree_with_their_elements(
        shape in prop::collection::vec(0usize..4, 0..4),
        strides in prop::collection::vec(-12isize..12, 0..4),
        offset in 0usize..40,
        len in 0usize..64,
    ) {
        let data: Vec<u8> = (0u8..).take(len).collect();
        let Ok(array) = NdArray::new(<i16 as Scalar>::dtype(), shape, strides, offset, data.into()) else {
            return Ok(());
        };
        let items = array.to_vec::<i16>().unwrap();
        prop_assert_eq!(items.len(), array.len());
        let elements: Vec<_> = items.iter().map(|item| Element::Int((*item).into())).collect();
        prop_assert_eq!(array.elements().collect::<Vec<_>>(), elements);
        prop_assert_eq!(array.as_slice::<i16>().unwrap().into_owned(), items);
        prop_assert_eq!(read(&array.to_payload().unwrap()), array);
    }
}
